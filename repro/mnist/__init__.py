"""Section 3 of the paper on MNIST: settings, runs, how they are trained, and in which order.

Tables, figures and verdicts are in ``repro.report.mnist``, the equations in ``repro.kd``, the data in
``repro.data.mnist``.
"""
