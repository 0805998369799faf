"""How a net is trained: the settings of a training run, and the optimiser they ask for."""

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from repro.config import Settings


class Recipe(Settings):
    """How a net is trained; a kind of nets that does without some of it names that in ``unused``."""

    unused: ClassVar[tuple[str, ...]] = ()
    nets: ClassVar[str] = "nets"

    epochs: float = Field(gt=0, le=10_000, description="passes over the transfer set")
    batch_size: int = Field(256, ge=1, le=65_536)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0, le=100, allow_inf_nan=False)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_fraction: float = Field(0.0, ge=0, le=1, description="share of the steps in which the rate rises from zero")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd (Nesterov); adamw keeps betas 0.9, 0.999")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_norm: float | None = Field(None, gt=0, le=1000, description="L2 bound on a hidden unit's incoming weights")
    input_dropout: float = Field(0.0, ge=0, le=0.9)
    hidden_dropout: float = Field(0.0, ge=0, le=0.9)
    patience: int | None = Field(
        None, ge=1, description="stop when no member got better in so many snapshots; needs a validation set"
    )
    max_translation: int = Field(0, ge=0, le=8, description="largest translation in pixels, each way")

    @model_validator(mode="after")
    def _used(self) -> "Recipe":
        for name in self.unused:
            if getattr(self, name):
                raise ValueError(f"{name} should be left out for {self.nets}")
        return self

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 .. steps - 1."""
        rise = self.warmup_fraction * steps
        if step < rise:
            return self.learning_rate * (step + 1) / (rise + 1)
        done = (step - rise) / max(steps - rise, 1)
        shape = {"linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done), "constant": 1.0}
        return self.learning_rate * shape[self.schedule]

    def steps(self, cases: int) -> int:
        """Training steps for ``epochs`` passes over so many cases."""
        return max(1, round(self.epochs * cases / self.batch_size))

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser with its state laid out, so that a checkpoint can be read straight into it."""
        parameters = list(parameters)
        rate, decay = self.learning_rate, self.weight_decay
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters, rate, self.momentum, weight_decay=decay, nesterov=self.momentum > 0, fused=True
            )
            for parameter in parameters:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return optimizer
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=True)
        for parameter in parameters:
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return optimizer
