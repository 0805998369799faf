"""Measurement: metrics of a model on labeled examples, intervals and tests.

``metrics`` are those of one model, ``stats`` intervals and tests over seeds and examples, ``bootstrap`` intervals over
classes and speakers.

Nothing here trains, chooses or prints; tables and verdicts are made in ``report``.
"""
