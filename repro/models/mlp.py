"""Many nets of one shape, stacked on a leading axis and multiplied in one batched matmul."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repro.models.base import Model
from repro.training.random_streams import Dropout, Stream, generator


class BatchedMLP(Model):
    """M fully connected ReLU nets of the same sizes, each drawn from a seed of its own.

    Member m is the net that a population of one with the same seed would be. The hidden layers multiply
    in ``dtype``; the last layer and its logits stay fp32, for at T = 20 the signal in a logit is smaller
    than the rounding of bf16. With thousands of classes, where the last layer is most of the arithmetic
    and T is low, it may multiply in ``dtype`` too (``fp32_logits`` false), and so precise its logits are then.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        dtype: torch.dtype = torch.float32,
        fp32_logits: bool = True,
    ):
        """Draw the initial weights: N(0, 2 / fan-in) (He et al. 2015), zero biases.

        Args:
            sizes: units of every layer, inputs first, classes last.
            seeds: one seed for each member.
            dtype: the type of the operands of hidden-layer matrix multiplications.
        """
        super().__init__()
        self.sizes, self.seeds, self.dtype = tuple(sizes), tuple(seeds), dtype
        self.fp32_logits = fp32_logits
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            drawn = [
                torch.randn(fan_in, fan_out, generator=generator(Stream.INITIAL_WEIGHTS, seed, layer)) for seed in seeds
            ]
            self.weights.append(torch.stack(drawn) * (2 / fan_in) ** 0.5)
            self.biases.append(torch.zeros(len(seeds), 1, fan_out))

    def __len__(self) -> int:
        return len(self.seeds)

    def forward(
        self, inputs: Float[Tensor, "*models batch unit"], noise: Dropout | None = None
    ) -> Float[Tensor, "models batch classes"]:
        """Logits of all members, in fp32.

        Args:
            inputs: one batch for all members, or one for each.
            noise: dropout for this step; None at test time.
        """
        return self.last_layer(self.hidden(inputs, noise)).float()

    def hidden(
        self, inputs: Float[Tensor, "*models batch unit"], noise: Dropout | None = None
    ) -> Float[Tensor, "nets batch units"]:
        """What the last hidden layer of all members says."""
        hidden = inputs.to(self.dtype)
        if noise is not None:
            hidden = noise.drop_inputs(hidden)
        hidden = hidden.expand(len(self), -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            mask, scale = noise.hidden_mask(layer, hidden, weight.shape[-1]) if noise else (None, 1.0)
            hidden = HiddenLayer.apply(hidden, weight, bias, mask, scale)
        return hidden

    def last_layer(self, hidden: Float[Tensor, "models batch unit"]) -> Float[Tensor, "models batch classes"]:
        """Logits of what the last hidden layer says, in the type they are multiplied in."""
        last = torch.float32 if self.fp32_logits else self.dtype
        return torch.baddbmm(self.biases[-1].to(last), hidden.to(last), self.weights[-1].to(last))

    def member(self, m: int) -> "BatchedMLP":
        """A population of one with a copy of member m's weights."""
        alone = BatchedMLP(self.sizes, [self.seeds[m]], self.dtype, self.fp32_logits)
        alone.load_state_dict({name: value[m : m + 1] for name, value in self.state_dict().items()})
        return alone

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "case unit"], batch: int = 5000) -> Float[Tensor, "models case classes"]:
        """Logits without dropout, in fp32 throughout and on the CPU: what evaluation and soft targets are
        made of."""
        precision, self.dtype = self.dtype, torch.float32
        device = self.weights[0].device
        try:
            return torch.cat([self(part.float().to(device)).cpu() for part in images.split(batch)], dim=1)
        finally:
            self.dtype = precision

    @torch.no_grad()
    def clip_weight_norms(self, max_norm: float) -> None:
        """Hinton et al. 2012: scale down the incoming weights of a hidden unit to an L2 norm of at most
        ``max_norm``. The output layer is left free."""
        for weight in self.weights[:-1]:
            norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
            weight.mul_(max_norm / norm.clamp_min(max_norm))


class HiddenLayer(torch.autograd.Function):
    """relu(x W + b) times a dropout mask, with the weights cast to the type of x.

    Written out because autograd's own chain keeps and re-reads every intermediate: here the output alone
    tells the backward pass where both the ReLU and the mask let the gradient through.
    """

    @staticmethod
    def forward(ctx, inputs: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, scale: float):
        """inputs (model, batch, in), weight (model, in, out), bias (model, 1, out), mask in {0, scale}."""
        cast = weight.to(inputs.dtype)
        output = torch.baddbmm(bias.to(inputs.dtype), inputs, cast).relu_()
        if mask is not None:
            output.mul_(mask)
        ctx.save_for_backward(inputs, cast, output)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """Gradients for inputs, weight and bias; those of the parameters in fp32."""
        inputs, cast, output = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        if ctx.scale != 1:
            gradient.mul_(ctx.scale)
        to_inputs = torch.bmm(gradient, cast.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(inputs.transpose(1, 2), gradient).float()
        to_bias = gradient.sum(1, keepdim=True, dtype=torch.float32)
        return to_inputs, to_weight, to_bias, None, None
