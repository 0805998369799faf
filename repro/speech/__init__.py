"""Sections 4 and 6: acoustic models, their ensemble distilled into one model, and soft targets on little data.

Read ``experiment.py`` first, top to bottom. Here are the runs (``runs``), how they are executed (``runner``), the
settings, forced alignment, features, training and evaluation; ``decoding`` turns scores into words. Corpora are in
``repro.data.speech``, the losses in ``repro.kd``, tables, figures and verdicts in ``repro.report.speech``.
"""
