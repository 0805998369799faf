"""Outputs of a model's inner modules, by name."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repro.errors import UserError
from repro.variants.methods.base import ModelOutput


class FeatureExtractor:
    """A model that returns the outputs of some of its modules along with its logits.

    Names are PyTorch's, such as ``layers.0`` of an MLP or ``stages.1`` of a convolutional network.
    """

    def __init__(self, net: nn.Module, names: Sequence[str], setting: str):
        """Register the forward hooks; ``setting`` is what an error message names.

        Raises:
            UserError: the model has no module of that name.
        """
        self.net = net
        self._outputs: dict[str, Tensor] = {}
        modules = {name: module for name, module in net.named_modules() if name}
        for name in dict.fromkeys(names):
            if name not in modules:
                raise UserError(f"{setting}: {name} is no module of this model; its modules are {', '.join(modules)}")
            modules[name].register_forward_hook(lambda _, __, output, name=name: self._keep(name, output))

    def _keep(self, name: str, output: Tensor) -> None:
        self._outputs[name] = output

    def __call__(self, images: Tensor, *further: object) -> ModelOutput:
        """Return fp32 logits (batch, classes), and features in the data type of their module."""
        self._outputs = {}
        logits = self.net(images, *further)[0]
        return ModelOutput(logits, self._outputs, images)

    @torch.no_grad()
    def sample(self, images: Tensor) -> ModelOutput:
        """Return an output whose shapes are of interest: in evaluation mode, so that no statistics change."""
        training = self.net.training
        self.net.eval()
        try:
            return self(images)
        finally:
            self.net.train(training)
