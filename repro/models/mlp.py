"""Many fully connected networks of one shape, trained side by side as batched matrix products."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repro.models.base import Model
from repro.training.random_streams import Dropout, Mask, Stream, generator

if TYPE_CHECKING:
    from repro.training.fused_update import WeightCopy


ALIGNED = 16  # numbers in fp32: a cache line


class BatchedMLP(Model):
    """M fully connected ReLU networks of the same sizes, each initialized from its seed.

    Member m is the network that ``BatchedMLP(sizes, [seeds[m]])`` is. The standard way to train models side by side is
    ``torch.func.stack_module_state`` with ``vmap``. It is written out here as ``torch.baddbmm`` on stacked weights
    because vmap does not batch a layer with a hand-written backward pass (``HiddenLayer``), which is where the speed
    comes from, and because every member's dropout is to be a function of its seed alone.

    The hidden layers multiply in ``dtype``; the last layer and its logits stay fp32, because at T = 20 the signal in
    a logit is smaller than the rounding of bf16. With thousands of classes, where the last layer is most of the
    arithmetic and T is low, it may multiply in ``dtype`` too (``fp32_logits=False``), with logits of that precision.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        dtype: torch.dtype = torch.float32,
        fp32_logits: bool = True,
        initial_weight_sd: float | None = None,
    ):
        """Draw the initial weights from a normal distribution of mean zero; biases are zero.

        Args:
            sizes: units of every layer, inputs first, classes last.
            seeds: one seed for each member.
            dtype: type of the operands of hidden-layer matrix multiplications. Default: fp32.
            fp32_logits: whether the last layer multiplies in fp32 whatever ``dtype`` is. Default: True.
            initial_weight_sd: standard deviation of the initial weights. Default: that of He et al. 2015, the square
                root of 2 / fan-in.
        """
        super().__init__()
        self.sizes, self.seeds, self.dtype = tuple(sizes), tuple(seeds), dtype
        self.fp32_logits = fp32_logits
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            members = [
                torch.randn(fan_in, fan_out, generator=generator(Stream.INITIAL_WEIGHTS, seed, layer)) for seed in seeds
            ]
            sd = (2 / fan_in) ** 0.5 if initial_weight_sd is None else initial_weight_sd
            self.weights.append(torch.stack(members) * sd)
            self.biases.append(torch.zeros(len(seeds), 1, fan_out))

    def __len__(self) -> int:
        return len(self.seeds)

    def forward(
        self,
        inputs: Float[Tensor, "*model batch unit"],
        dropout: Dropout | None = None,
        copies: "Sequence[WeightCopy]" = (),
    ) -> Float[Tensor, "model batch class"]:
        """Return the logits of all members, in fp32.

        Args:
            inputs: one batch for all members, or one for each.
            dropout: dropout of the training step. Default: none, as at test time.
            copies: copies of the hidden layers' weights, up to date. Default: none, weights are cast.
        """
        return self.last_layer(self.hidden(inputs, dropout, copies)).float()

    def hidden(
        self,
        inputs: Float[Tensor, "*model batch unit"],
        dropout: Dropout | None = None,
        copies: "Sequence[WeightCopy]" = (),
    ) -> Float[Tensor, "model batch hidden"]:
        """Return the activations of the last hidden layer of all members, in ``dtype``."""
        hidden = inputs.to(self.dtype)
        if dropout is not None and copies:
            hidden = copies[0].drop(hidden, dropout.input_mask(*hidden.shape[-2:]))
        elif dropout is not None:
            hidden = dropout.drop_inputs(hidden)
        hidden = hidden.expand(len(self), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            mask = dropout.hidden_mask(layer, hidden.shape[-2], weight.shape[-1]) if dropout else None
            hidden = HiddenLayer.apply(hidden, weight, bias, mask, copies[layer] if copies else None)
        return hidden

    def last_layer(self, hidden: Float[Tensor, "model batch unit"]) -> Float[Tensor, "model batch class"]:
        """Return the logits of the last hidden layer's activations, in the type that they are multiplied in."""
        last = torch.float32 if self.fp32_logits else self.dtype
        return torch.baddbmm(self.biases[-1].to(last), hidden.to(last), self.weights[-1].to(last))

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "example unit"], batch: int = 5000) -> Float[Tensor, "model example class"]:
        """Return logits for evaluation and soft targets: without dropout, in fp32 throughout, on the CPU."""
        precision, self.dtype = self.dtype, torch.float32
        device = self.weights[0].device
        try:
            return torch.cat([self(part.float().to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.dtype = precision

    @torch.no_grad()
    def clip_weight_norms(self, max_norm: float) -> None:
        """Scale the incoming weights of each hidden unit to an L2 norm of at most ``max_norm``.

        Hinton et al. 2012 (arXiv 1207.0580). The output layer has no bound.
        """
        for weight in self.weights[:-1]:
            norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
            weight.mul_(max_norm / norm.clamp_min(max_norm))


class HiddenLayer(torch.autograd.Function):
    """relu(x W + b) times a dropout mask, with the weights cast to the type of x.

    It has a hand-written backward pass because autograd stores and reads again every intermediate: here the output
    alone tells the backward pass where both the ReLU and the mask let the gradient through.
    """

    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, bias: Tensor, mask: Mask | None, copy: "WeightCopy | None"):
        """Return the output, (model, batch, out).

        Args:
            inputs: (model, batch, in).
            weight: (model, in, out).
            bias: (model, 1, out).
            mask: units to drop; None without dropout.
            copy: the weight's copy, which gets the gradient in place of the weight; None to cast the weight.
        """
        cast = weight.to(inputs.dtype) if copy is None else copy.value
        output = torch.baddbmm(bias.to(inputs.dtype), inputs, cast)
        if mask is None:
            output.relu_()
        elif copy is None:
            output.relu_().mul_(mask.factors(output.dtype))
        else:
            copy.relu_and_drop(output, mask)
        ctx.save_for_backward(inputs, cast, output)
        ctx.scale, ctx.copy = mask.scale if mask else 1.0, copy
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """Return the gradients of inputs, weight and bias; those of the parameters in fp32.

        That of a weight with a copy is written to the copy, and None is returned in its place.
        """
        inputs, cast, output = ctx.saved_tensors
        if ctx.copy is None:
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
            if ctx.scale != 1:
                gradient.mul_(ctx.scale)
            to_bias = gradient.sum(1, keepdim=True, dtype=torch.float32)
        else:
            gradient, to_bias = ctx.copy.relu_backward(gradient, output, ctx.scale)
        to_inputs = torch.bmm(gradient, cast.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        to_weight = None
        if ctx.copy is None:
            to_weight = torch.bmm(inputs.transpose(1, 2), gradient).float()
        else:
            torch.bmm(inputs.transpose(1, 2), gradient, out=ctx.copy.gradient)
        return to_inputs, to_weight, to_bias, None, None


def aligned(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return memory for a tensor, in fp32 with rows that start at multiples of ``ALIGNED`` numbers.

    Without, fp32 products with thousands of columns take half as long again. In bf16, rows follow one another.
    """
    *others, units = shape
    length = -(-units // ALIGNED) * ALIGNED if dtype == torch.float32 else units
    return torch.empty(*others, length, dtype=dtype, device=device)[..., :units]
