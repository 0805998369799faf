"""Measurement: metrics of a model on labeled examples (``metrics``), intervals and tests over runs (``stats``).

Nothing here trains, chooses or prints; tables and verdicts are made in ``report``.
"""
