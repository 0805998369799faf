"""The equations of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531) and the losses built from them; nothing else.

>>> from repro.kd import soften, distillation_loss

``losses`` holds equations 1, 2 and 4 and the losses, and is the file to read; it needs torch and jaxtyping alone.
``fused_loss`` holds the same knowledge distillation loss fused with the output layer, for speed with thousands of
classes. No module here imports another package of the project at run time.
"""

from repro.kd.losses import (
    arithmetic_mean,
    distillation_loss,
    exact_gradient,
    geometric_mean,
    hard_target_loss,
    high_temperature_gradient,
    logit_regression_loss,
    soft_target_loss,
    soften,
)

__all__ = [
    "arithmetic_mean", "distillation_loss", "exact_gradient", "geometric_mean", "hard_target_loss",
    "high_temperature_gradient", "logit_regression_loss", "soft_target_loss", "soften",
]  # fmt: skip
