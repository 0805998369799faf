"""Hyperparameters of a training run, the learning rate schedule, and the optimizer."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import nn

from repro.config import Settings
from repro.training.optimizers import SGD, AdamW, Optimizer


class Recipe(Settings):
    """Hyperparameters of a training run. A subclass lists in ``unused`` those that its models do not support."""

    unused: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[dict[str, str]] = {
        "batch": "batch_size", "optimiser": "optimizer", "warmup": "warmup_fraction", "drop_input": "input_dropout",
        "drop_hidden": "hidden_dropout", "jitter": "max_translation",
    }  # fmt: skip
    # Left out of records and keys at their defaults, because committed records are older than these options.
    omitted_at_default: ClassVar[tuple[str, ...]] = (
        "initial_momentum", "momentum_warmup_fraction", "initial_weight_sd", "weight_averaging_fraction", "milestones",
        "gamma",
    )  # fmt: skip
    nets: ClassVar[str] = "nets"

    epochs: float = Field(
        gt=0, le=10_000, description="Number of epochs over the transfer set; may be fractional. Required."
    )
    batch_size: int = Field(256, ge=1, le=65_536, description="Number of examples in a training step. Default: 256.")
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="Optimizer: adamw (betas 0.9 and 0.999) or sgd (Nesterov momentum). Default: adamw."
    )
    learning_rate: float = Field(gt=0, le=100, allow_inf_nan=False, description="Peak learning rate. Required.")
    schedule: Literal["linear", "cosine", "constant", "multistep"] = Field(
        "linear",
        description="Learning rate after the warm-up: linear or cosine decay to zero, constant, or multistep, which"
        " multiplies it by gamma at each of the milestones. Default: linear.",
    )
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (), description="Fractions of the epochs after which multistep lowers the learning rate. Default: none."
    )
    gamma: float = Field(0.1, gt=0, lt=1, description="Factor of multistep's learning rate. Default: 0.1.")
    warmup_fraction: float = Field(
        0.0, ge=0, le=1, description="Fraction of the steps in which the learning rate rises from zero. Default: 0."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum of sgd; adamw ignores it. Default: 0.9.")
    initial_momentum: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Momentum of sgd at the first step, from which it rises to momentum. Default: constant.",
    )
    momentum_warmup_fraction: float = Field(
        0.5, gt=0, le=1, description="Fraction of the steps in which the momentum rises linearly. Default: 0.5."
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Weight decay, decoupled for adamw and an L2 penalty for sgd. Default: 0."
    )
    max_norm: float | None = Field(
        None, gt=0, le=1000, description="Largest L2 norm of a hidden unit's incoming weights. Default: no bound."
    )
    input_dropout: float = Field(0.0, ge=0, le=0.9, description="Probability of dropping an input. Default: 0.")
    hidden_dropout: float = Field(0.0, ge=0, le=0.9, description="Probability of dropping a hidden unit. Default: 0.")
    max_translation: int = Field(
        0, ge=0, le=8, description="Largest random translation of an image in pixels, each way. Default: 0."
    )
    initial_weight_sd: float | None = Field(
        None, gt=0, le=10, description="Standard deviation of the initial weights. Default: that of He et al. 2015."
    )
    weight_averaging_fraction: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the steps, the last ones, whose weights are averaged. Default: 0."
    )

    @model_validator(mode="after")
    def _used(self) -> "Recipe":
        for name in self.unused:
            if getattr(self, name):
                raise ValueError(f"{name} must be left out for {self.nets}")
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise ValueError("milestones must be given for the schedule multistep, and for no other")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        omitted = {name for name in self.omitted_at_default if getattr(self, name) == fields[name].default}
        return {name: value for name, value in serialize(self).items() if name not in omitted}

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, 0 .. steps - 1; a function of the step alone, so resuming is exact."""
        rise = self.warmup_fraction * steps
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        if self.schedule == "multistep":
            passed = sum(step >= milestone * steps for milestone in self.milestones)
            return self.learning_rate * self.gamma**passed
        done = (step - rise) / max(steps - rise, 1)
        shape = {"linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done), "constant": 1.0}
        return self.learning_rate * shape[self.schedule]

    def momentum_at(self, step: int, steps: int) -> float:
        """Return the momentum of a step, 0 .. steps - 1, rounded to hundredths while it rises.

        Rounding keeps the number of its values, and so of CUDA graphs, small.
        """
        rise = self.momentum_warmup_fraction * steps
        if self.initial_momentum is None or step >= rise:
            return self.momentum
        return round(self.initial_momentum + (self.momentum - self.initial_momentum) * step / rise, 2)

    def steps(self, num_examples: int) -> int:
        """Return the number of training steps in ``epochs`` epochs over ``num_examples`` examples."""
        return max(1, round(self.epochs * num_examples / self.batch_size))

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return the optimizer with its state allocated."""
        kinds: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD}
        return kinds[self.optimizer](parameters, self.weight_decay)
