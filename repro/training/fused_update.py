"""Updates of a batched MLP's weights in one pass over memory, on CPUs in bf16."""

import operator

import numpy as np
import torch
from torch import Tensor

from repro.kd.fused_loss import SoftTargets
from repro.models.mlp import BatchedMLP
from repro.training import kernels, loss_kernel
from repro.training.optimizers import Optimizer
from repro.training.random_streams import Mask


class WeightCopy:
    """A weight in bf16, in which it is multiplied, and memory for its gradient in bf16.

    The optimizer writes the copy in the pass that updates the weight, and reads the gradient from here; the weight is
    not cast, and the gradient not cast back, in passes of their own.
    """

    def __init__(self, weight: Tensor):
        """Allocate a copy of a weight, (model, in, out); its values are undefined."""
        self.value, self.gradient = (torch.empty_like(weight, dtype=torch.bfloat16) for _ in range(2))
        models, _, units = weight.shape
        self.sums = np.zeros((models, kernels.CHUNKS, units), np.float32)

    def drop(self, inputs: Tensor, mask: Mask | None) -> Tensor:
        """Return inputs in bf16, (model or 1, batch, in), with units dropped for each model; alike without a mask."""
        if mask is None:
            return inputs
        dropped = inputs.new_empty(mask.drawn.shape)
        _drop(inputs.expand_as(dropped), mask, dropped, relu=False)
        return dropped

    def relu_and_drop(self, output: Tensor, mask: Mask) -> None:
        """Zero negative and dropped units of a bf16 output, (model, batch, out), in place, and scale the others."""
        _drop(output, mask, output, relu=True)

    def relu_backward(self, gradient: Tensor, output: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return the gradient before ReLU and dropout in bf16, and its sums over the batch, the biases', in fp32.

        Args:
            gradient: gradient of the layer's output, (model, batch, out), in bf16.
            output: the layer's output, same shape.
            scale: factor of the units that dropout left.
        """
        before = torch.empty_like(output)
        kernels.relu_backward(_bits(gradient), _bits(output), np.float32(scale), _bits(before), self.sums)
        return before, torch.from_numpy(self.sums).sum(1, keepdim=True)

    def loss_backward(
        self, logits: Tensor, bias: Tensor, labels: Tensor, soft: SoftTargets | None
    ) -> tuple[Tensor, Tensor]:
        """Turn bf16 logits without biases, (model, batch, class), into the gradient of the mean loss, in place.

        Args:
            bias: biases, (model, 1, class), in fp32.
            labels: classes, (batch,).
            soft: soft targets. Default: none, the loss on hard targets.

        Returns:
            The loss of each model, averaged over the batch, and the gradient's sums over the batch, the biases', in
            fp32.
        """
        models, batch, _ = logits.shape
        soft = soft or SoftTargets(logits.new_empty(0, batch, 0), (0,) * models, (1.0,) * models, (1.0,) * models)
        learns_from = list(zip(soft.teacher, soft.temperature, strict=True))
        distinct = list(dict.fromkeys(learns_from)) if len(soft.logits) else []
        losses = np.empty((models, batch), np.float32)
        loss_kernel.gradient(
            _bits(logits),
            bias.detach()[:, 0].numpy(),
            labels.numpy(),
            soft.logits.float().numpy(),
            np.array([learns_from.index(each) for each in distinct], np.int64),
            np.array([(each[0], distinct.index(each) if distinct else 0) for each in learns_from], np.int64),
            np.array(list(zip(soft.temperature, soft.hard_label_weight, strict=True)), np.float32),
            (losses, self.sums),
        )
        return torch.from_numpy(losses).mean(1), torch.from_numpy(self.sums).sum(1, keepdim=True)


class FusedUpdate:
    """Weights with bf16 copies, and the optimizer's state of them.

    It takes the place of the optimizer for these weights, which get no gradient themselves.

    Attributes:
        copies: a copy of every weight, up to date between two steps.
    """

    def __init__(self, net: BatchedMLP, optimizer: Optimizer, max_norm: float | None):
        """Copy the weights that ``net`` multiplies in bf16, and compile the kernels where they are not cached.

        Args:
            net: network with its weights as training starts or resumes.
            optimizer: update rule, and state of all parameters.
            max_norm: largest L2 norm of a hidden unit's incoming weights; None for no bound.
        """
        weights = list(net.weights[:-1] if net.fp32_logits else net.weights)
        self.copies = [WeightCopy(weight) for weight in weights]
        assert all(map(operator.is_, weights, optimizer.parameters)), "the weights come first"
        self._optimizer = optimizer
        self._states = [optimizer.state[number] for number in range(len(weights))]
        self._arrays, self._max_norms = [], []
        for weight, copy, state in zip(weights, self.copies, self._states, strict=True):
            copy.value.copy_(weight.detach())
            moments = [moment.numpy() for moment in state.values() if moment.shape == weight.shape]
            bits = _bits(copy.value), _bits(copy.gradient)
            self._arrays.append((weight.detach().numpy(), *bits, *moments, copy.sums))
            self._max_norms.append(np.float32(0 if max_norm is None or weight is net.weights[-1] else max_norm))
        self._compile()

    def _compile(self) -> None:
        arrays, state = self._arrays[0], {name: value.clone() for name, value in self._states[0].items()}
        nothing = (array[:0] for array in arrays)
        kernels.prepare(self._optimizer.kernel, *nothing, self._optimizer.advance(state), self._max_norms[0])

    def step(self) -> None:
        """Update the weights by the gradients in their copies, bound their norms and renew the copies."""
        for arrays, state, max_norm in zip(self._arrays, self._states, self._max_norms, strict=True):
            self._optimizer.kernel(*arrays, self._optimizer.advance(state), max_norm)


def _drop(values: Tensor, mask: Mask, result: Tensor, relu: bool) -> None:
    kernels.dropout(
        _bits(values), mask.drawn.numpy(), np.uint8(mask.threshold), np.float32(mask.scale), relu, _bits(result)
    )


def _bits(tensor: Tensor) -> np.ndarray:
    """Return the bf16 numbers of a tensor as the integers of their bits, in the same memory."""
    return tensor.view(torch.uint16).numpy()
