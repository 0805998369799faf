"""Updates of a batched MLP's weights in one pass over memory, on CPUs."""

import operator

import numpy as np
import torch
from torch import Tensor

from repro.kd.fused_loss import SoftTargets
from repro.models.mlp import BatchedMLP, aligned
from repro.training import kernels, loss_kernel
from repro.training.optimizers import Optimizer
from repro.training.random_streams import Mask


class WeightCopy:
    """A weight in the type that it is multiplied in, and memory for its gradient in that type.

    The optimizer writes the copy in the pass that updates the weight, and reads the gradient from here; in bf16 the
    weight is not cast, and the gradient not cast back, in passes of their own. In fp32, rows are ``aligned``.

    Attributes:
        value: the copy; the weight itself where nothing differs.
        gradient: the gradient, same shape.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype):
        """Copy a weight, (model, in, out)."""
        weight = weight.detach()
        self.gradient = aligned(weight.shape, dtype)
        self.is_weight = dtype == weight.dtype and self.gradient.is_contiguous()
        self.value = weight if self.is_weight else aligned(weight.shape, dtype).copy_(weight)
        models, _, units = weight.shape
        self.sums = np.zeros((models, kernels.CHUNKS, units), np.float32)

    def products(self, inputs: Tensor) -> Tensor:
        """Return the products of inputs, (model, batch, in), and the weight; rows may be longer in memory."""
        return torch.bmm(inputs, self.value, out=aligned((*inputs.shape[:2], self.value.shape[-1]), inputs.dtype))

    def drop(self, inputs: Tensor, mask: Mask | None) -> Tensor:
        """Return inputs, (model or 1, batch, in), with units dropped for each model; alike without a mask."""
        if mask is None:
            return inputs
        dropped = inputs.new_empty(mask.drawn.shape)
        _drop(inputs.expand_as(dropped), mask, dropped, relu=False)
        return dropped

    def relu_and_drop(self, output: Tensor, mask: Mask) -> None:
        """Zero negative and dropped units of an output, (model, batch, out), in place, and scale the others."""
        _drop(output, mask, output, relu=True)

    def relu_backward(self, gradient: Tensor, output: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return the gradient before ReLU and dropout, and its sums over the batch, the biases', in fp32.

        Args:
            gradient: gradient of the layer's output, (model, batch, out).
            output: the layer's output, same shape.
            scale: factor of the units that dropout left.
        """
        before = torch.empty_like(output)
        kernels.relu_backward(
            kernels.array(gradient), kernels.array(output), np.float32(scale), kernels.array(before), self.sums
        )
        return before, torch.from_numpy(self.sums).sum(1, keepdim=True)

    def loss_backward(
        self, logits: Tensor, bias: Tensor, labels: Tensor, soft: SoftTargets | None
    ) -> tuple[Tensor, Tensor]:
        """Turn logits without biases, (model, batch, class), into the gradient of the mean loss, in place.

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
            _rows(logits),
            bias.detach()[:, 0].numpy(),
            labels.numpy(),
            soft.logits.float().contiguous().numpy(),
            np.array([learns_from.index(each) for each in distinct], np.int64),
            np.array([(each[0], distinct.index(each) if distinct else 0) for each in learns_from], np.int64),
            np.array(list(zip(soft.temperature, soft.hard_label_weight, strict=True)), np.float32),
            (losses, self.sums),
        )
        return torch.from_numpy(losses).mean(1), torch.from_numpy(self.sums).sum(1, keepdim=True)


class FusedUpdate:
    """Weights with their copies, and the optimizer's state of them.

    It takes the place of the optimizer for these weights, which get no gradient themselves.

    Attributes:
        copies: a copy of every weight, up to date between two steps.
    """

    def __init__(self, net: BatchedMLP, optimizer: Optimizer, max_norm: float | None):
        """Copy the weights that ``net`` multiplies in its type, and compile the kernels where they are not cached.

        Args:
            net: network with its weights as training starts or resumes.
            optimizer: update rule, and state of all parameters.
            max_norm: largest L2 norm of a hidden unit's incoming weights; None for no bound.
        """
        weights = list(net.weights[:-1] if net.fp32_logits else net.weights)
        self.copies = [WeightCopy(weight, net.dtype) for weight in weights]
        assert all(map(operator.is_, weights, optimizer.parameters)), "the weights come first"
        self._optimizer = optimizer
        self._states = [optimizer.state[number] for number in range(len(weights))]
        self._arrays, self._max_norms = [], []
        for weight, copy, state in zip(weights, self.copies, self._states, strict=True):
            moments = [moment.numpy() for moment in state.values() if moment.shape == weight.shape]
            value = None if copy.is_weight else _rows(copy.value)
            self._arrays.append((weight.detach().numpy(), value, _rows(copy.gradient), *moments, copy.sums))
            self._max_norms.append(np.float32(0 if max_norm is None or weight is net.weights[-1] else max_norm))
        self._compile()

    def _compile(self) -> None:
        for arrays, state, max_norm in zip(self._arrays, self._states, self._max_norms, strict=True):
            nothing = (None if array is None else array[:0] for array in arrays)
            constants = self._optimizer.advance({name: value.clone() for name, value in state.items()})
            kernels.prepare(self._optimizer.kernel, *nothing, constants, max_norm)

    def step(self) -> None:
        """Update the weights by the gradients in their copies, bound their norms and renew the copies."""
        for arrays, state, max_norm in zip(self._arrays, self._states, self._max_norms, strict=True):
            self._optimizer.kernel(*arrays, self._optimizer.advance(state), max_norm)


def _drop(values: Tensor, mask: Mask, result: Tensor, relu: bool) -> None:
    arrays = kernels.array(values), mask.drawn.numpy(), kernels.array(result)
    kernels.dropout(*arrays, np.uint8(mask.threshold), np.float32(mask.scale), relu)


def _rows(tensor: Tensor) -> np.ndarray:
    """Return the whole rows, as they are in memory, of a tensor of three dimensions."""
    length = tensor.stride(1)
    return kernels.array(tensor.as_strided((*tensor.shape[:2], length), (tensor.shape[1] * length, length, 1)))
