"""The paper's equations 1 to 4 and the losses built from them; nothing else.

>>> from repro.kd import soften, distillation_loss

``losses`` is what to read; ``fused_loss`` is the same loss merged with a large output layer, for speed. No module here
imports another package of the project.
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
