"""What modules of a net put out on the way, by their names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repro.errors import UserError
from repro.variants.methods.base import ModelOutput


class FeatureExtractor:
    """A net that says what some of its modules put out, along with its logits.

    Names are PyTorch's, such as ``layers.0`` of a fully connected net or ``stages.1`` of a convolutional one.
    """

    def __init__(self, net: nn.Module, names: Sequence[str], setting: str):
        """``setting`` is named where a module is not there.

        Raises:
            UserError: the net has no module of that name.
        """
        self.net = net
        self._outputs: dict[str, Tensor] = {}
        modules = {name: module for name, module in net.named_modules() if name}
        for name in dict.fromkeys(names):
            if name not in modules:
                raise UserError(f"{setting}: {name} is no module of this net; there are {', '.join(modules)}")
            modules[name].register_forward_hook(lambda _, __, output, name=name: self._keep(name, output))

    def _keep(self, name: str, output: Tensor) -> None:
        self._outputs[name] = output

    def __call__(self, images: Tensor, *further: object) -> ModelOutput:
        """Logits (batch, classes) in fp32; features in the type they multiply in."""
        self._outputs = {}
        logits = self.net(images, *further)[0]
        return ModelOutput(logits, self._outputs, images)

    @torch.no_grad()
    def sample(self, images: Tensor) -> ModelOutput:
        """The same for its shapes alone: nothing is learned and no statistics move."""
        training = self.net.training
        self.net.eval()
        try:
            return self(images)
        finally:
            self.net.train(training)
