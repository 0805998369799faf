"""Outputs of a model's inner modules, by name."""

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from repro.errors import UserError
from repro.variants.methods.base import ModelOutput
from repro.variants.wrapped import WrappedNetwork

LONGEST_LIST = 60  # names of modules in an error message


class FeatureExtractor:
    """A model that returns the outputs of some of its modules along with its logits.

    Names are PyTorch's, such as ``layers.0`` of an MLP, ``stages.1`` of a convolutional network or ``layer3.0`` of a
    ResNet, also one of torchvision.
    """

    def __init__(self, net: nn.Module, names: Sequence[str], setting: str):
        """Register the forward hooks; ``setting`` is what an error message names.

        Raises:
            UserError: the model has no module of that name.
        """
        self.net, self.setting = net, setting
        self._outputs: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
        of_user = net.module if isinstance(net, WrappedNetwork) else net
        modules = {name: module for name, module in of_user.named_modules() if name}
        for name in dict.fromkeys(names):
            if name not in modules:
                raise UserError(f"{setting}: {name} is no module of this model; {_known(name, modules)}")
            modules[name].register_forward_hook(lambda _, __, output, name=name: self._keep(name, output))

    def _keep(self, name: str, output: Tensor) -> None:
        if not isinstance(output, Tensor):
            raise UserError(f"{self.setting}: the output of {name} is no tensor; name another module")
        self._outputs[name], self._versions[name] = output, output._version

    def __call__(self, images: Tensor, *further: object) -> ModelOutput:
        """Return fp32 logits (batch, classes), and features in the data type of their module.

        Raises:
            UserError: the model changes a module's output in place, so that it is no longer that module's.
        """
        self._outputs = {}
        logits = self.net(images, *further)[0]
        for name, output in self._outputs.items():
            if output._version != self._versions[name]:
                raise UserError(f"{self.setting}: the model changes the output of {name} in place; name another module")
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


def _known(name: str, modules: Iterable[str]) -> str:
    """Return the names of a model's modules, of a large one those at the top and those of similar spelling."""
    known = list(modules)
    if len(known) <= LONGEST_LIST:
        return f"its modules are {', '.join(known)}"
    near = difflib.get_close_matches(name, known)
    such_as = f", such as {' or '.join(near)}" if near else ""
    return f"its modules are {', '.join(name for name in known if '.' not in name)} and those inside{such_as}"
