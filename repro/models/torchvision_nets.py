"""Classification models of torchvision, fitted to the channels, the side and the classes of a data set."""

import difflib
import pickle
from functools import cache
from typing import Any

from torch import Tensor, nn

from repro.data.download import network_timeout
from repro.errors import UserError, reason

# What a network expects of its images: mean and standard deviation of each channel's pixels of 0 to 1.
Normalization = tuple[list[float], list[float]]


@cache
def names() -> list[str]:
    """Return the names of all classification models of torchvision."""
    from torchvision import models

    return models.list_models(module=models)


def check_name(name: str) -> str:
    """Return the name of a model.

    Raises:
        ValueError: torchvision has no such model; the message names those of similar spelling.
    """
    if name not in names():
        raise ValueError(f"must be a classification model of torchvision, {_near(name, names())}")
    return name


def check_weights(name: str, weights: str) -> str:
    """Return the name of a model's pretrained weights; that of the default ones for ``DEFAULT``.

    Raises:
        ValueError: torchvision has no such weights; the message names those of similar spelling.
    """
    from torchvision import models

    known = models.get_model_weights(name).__members__
    if weights not in known:
        raise ValueError(f"must be pretrained weights of {name}, {_near(weights, list(known))}")
    return known[weights].name


def is_resnet(name: str) -> bool:
    """Return whether a model is a ResNet, a ResNeXt or a wide ResNet."""
    from torchvision import models

    return models.get_model_builder(name).__module__ == models.resnet.__name__


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"such as {' or '.join(near)}" if near else f"one of {', '.join(known)}"


def build(
    name: str, channels: int, side: tuple[int, int], classes: int, *, small_images: bool, weights: str | None
) -> nn.Module:
    """Return a model, what is not pretrained drawn by PyTorch's global generator.

    Args:
        name: name of the model in torchvision.
        channels: channels of the images; the first convolution is replaced where it has another number.
        side: rows and columns of the images.
        classes: number of logits; the head of a pretrained model is replaced where it has another number.
        small_images: whether a ResNet begins with a 3x3 convolution of stride one and without max-pooling.
        weights: name of pretrained weights, which are downloaded where torch's cache does not have them.

    Raises:
        UserError: the weights cannot be downloaded, or the model does not take images of this side.
    """
    from torchvision import models

    extra: dict[str, Any] = {"num_classes": classes} if weights is None else {}
    if name in ("googlenet", "inception_v3"):
        extra["init_weights"] = weights is None
    try:
        with network_timeout():
            net = models.get_model(name, weights=weights, progress=False, **extra, **arguments(name, side))
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"weights {weights} of {name}: cannot be downloaded or read ({reason(error)})") from error
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"shape torchvision:{name}: cannot be built for images of {side[0]}x{side[1]} pixels"
                        f"{f' with weights {weights}' if weights else ''} ({reason(error)})") from error  # fmt: skip
    if name in ("googlenet", "inception_v3"):
        net.transform_input = False  # images come in the normalization that these weights expect
    _fit_first_convolution(net, channels, small_images)
    if weights is not None:
        _fit_head(net, classes)
    return net


def arguments(name: str, side: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of a model that its name or the side of the images asks for."""
    if name.startswith("vit_"):
        return {"image_size": side[0]}
    if name == "maxvit_t":
        return {"input_size": side}
    if name in ("googlenet", "inception_v3"):
        # Without the classifiers of inner layers, whose logits would be further outputs in training.
        return {"aux_logits": False}
    return {}


def normalization(name: str, weights: str, channels: int) -> Normalization:
    """Return the mean and standard deviation of the images that a model was pretrained on; grayscale: the average.

    GoogLeNet's and Inception's weights expect pixels of -1 to 1.
    """
    from torchvision import models

    if name in ("googlenet", "inception_v3"):
        mean, deviation = [0.5] * 3, [0.5] * 3
    else:
        transforms = models.get_model_weights(name)[weights].transforms()
        mean, deviation = list(transforms.mean), list(transforms.std)
    if channels == len(mean):
        return mean, deviation
    return [sum(mean) / len(mean)] * channels, [sum(deviation) / len(deviation)] * channels


def _fit_first_convolution(net: nn.Module, channels: int, small_images: bool) -> None:
    """Replace the first convolution where the images have other channels than three or are small.

    Pretrained weights stay where the number of channels alone changes: they become those of the mean of the channels,
    so that a grayscale image gives what the same image gives in color. A convolution for small images is drawn.
    """
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    if channels == first.in_channels and not small_images:
        return
    geometry: dict[str, Any] = {"kernel_size": 3, "stride": 1, "padding": 1}
    if not small_images:
        geometry = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    new = nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **geometry)
    if small_images:
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        net.set_submodule("maxpool", nn.Identity())
    else:
        new.weight.data = _mean_channel(first.weight.data, channels)
        if first.bias is not None and new.bias is not None:
            new.bias.data = first.bias.data
    net.set_submodule(name, new)


def _mean_channel(weight: Tensor, channels: int) -> Tensor:
    """Return weights (out, in, row, column) for another number of channels, whose sum over channels is the same."""
    return weight.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels


def _fit_head(net: nn.Module, classes: int) -> None:
    """Replace the head of a pretrained model where it has another number of classes."""
    name, head = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][
        -1
    ]
    if isinstance(head, nn.Conv2d):  # SqueezeNet's
        if head.out_channels != classes:
            net.set_submodule(name, nn.Conv2d(head.in_channels, classes, head.kernel_size))  # type: ignore[arg-type]
    elif head.out_features != classes:
        net.set_submodule(name, nn.Linear(head.in_features, classes, head.bias is not None))
