"""AdamW and SGD as PyTorch's fused updates of tensors that stay in place.

``torch.optim.AdamW`` and ``torch.optim.SGD`` do the same through a class whose first instance imports
``torch._dynamo``, which takes a second in every worker process.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

BETAS = (0.9, 0.999)
EPSILON = 1e-8


Constants = tuple[np.float32, ...]


class Optimizer:
    """Parameters, and the state that their updates keep of earlier steps.

    Attributes:
        rate: learning rate of the next step; a tensor where a CUDA graph reads it.
        momentum: momentum of the next step.
        state: tensors of each parameter, by name, in the order of the parameters. They are allocated at the start, so
            that a checkpoint is read straight into them.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float = 0.0):
        """Allocate the state; a learning rate must be set before the first step."""
        self.parameters, self.weight_decay = list(parameters), weight_decay
        self.rate: float | Tensor = 0.0
        self.momentum = 0.0
        self.state: list[dict[str, Tensor]] = [self._initial_state(parameter) for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        pairs = [pair for pair in zip(self.parameters, self.state, strict=True) if pair[0].grad is not None]
        gradients = [parameter.grad for parameter, _ in pairs if parameter.grad is not None]
        if pairs:
            self._update([parameter for parameter, _ in pairs], gradients, [state for _, state in pairs])

    def advance(self, state: dict[str, Tensor]) -> Constants:
        """Count a step of a parameter that a kernel updates, and return the constants of that step."""
        raise NotImplementedError

    @property
    def kernel(self) -> Callable[..., None]:
        """Kernel that makes the same update in one pass over a weight and its copy (``training.kernels``)."""
        raise NotImplementedError

    def _initial_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        raise NotImplementedError

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], state: list[dict[str, Tensor]]) -> None:
        raise NotImplementedError


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    def _initial_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    @property
    def kernel(self) -> Callable[..., None]:
        """``kernels.adamw``."""
        from repro.training import kernels

        return kernels.adamw

    def advance(self, state: dict[str, Tensor]) -> Constants:
        """Increment the count of steps and return the constants of ``kernels.adamw``."""
        steps, rate = int(state["step"].add_(1)), float(self.rate)
        (beta1, beta2), decay = BETAS, rate * self.weight_decay
        correction = (1 - beta2**steps) ** 0.5
        return _fp32(rate / (1 - beta1**steps), 1 - beta1, beta2, 1 - beta2, correction, EPSILON, 1 - decay)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], state: list[dict[str, Tensor]]) -> None:
        means, squares, steps = ([of[name] for of in state] for name in ("exp_avg", "exp_avg_sq", "step"))
        adamw(
            parameters, gradients, means, squares, [], steps, fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1],
            lr=self.rate, weight_decay=self.weight_decay, eps=EPSILON, maximize=False,
        )  # fmt: skip


class SGD(Optimizer):
    """Gradient descent with Nesterov momentum (Sutskever et al. 2013)."""

    def _initial_state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(parameter)}

    @property
    def kernel(self) -> Callable[..., None]:
        """``kernels.sgd``."""
        from repro.training import kernels

        return kernels.sgd

    def advance(self, state: dict[str, Tensor]) -> Constants:
        """Return the constants of ``kernels.sgd``."""
        return _fp32(float(self.rate), self.momentum, self.weight_decay)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], state: list[dict[str, Tensor]]) -> None:
        sgd(
            parameters, gradients, [of["momentum_buffer"] for of in state], fused=True, weight_decay=self.weight_decay,
            momentum=self.momentum, lr=self.rate, dampening=0.0, nesterov=self.momentum > 0, maximize=False,
        )  # fmt: skip


def _fp32(*values: float) -> Constants:
    return tuple(np.float32(value) for value in values)
