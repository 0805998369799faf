"""Which images an experiment is made on, as a setting, and where they come from."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from repro.config import Settings
from repro.data.download import data_folder
from repro.data.types import ImageData, ImageSet
from repro.training.random_streams import Stream, generator


class ImageSource(Settings):
    """Which images."""

    source: Literal["icons", "cifar100", "mnist", "folder"] = "icons"
    folder: Path | None = Field(None, description="for folder: holds train/<class>/ and test/<class>/")
    resize: int | None = Field(None, ge=8, le=256, description="for folder: make all images squares of so many pixels")
    horizontal_flip: bool = Field(True, description="for folder: an image and its mirror image are of one class")

    @model_validator(mode="after")
    def _named(self) -> "ImageSource":
        if (self.source == "folder") != (self.folder is not None):
            raise ValueError("data.folder should be given when data.source is folder, and only then")
        if self.source != "folder" and (self.resize is not None or not self.horizontal_flip):
            raise ValueError("data.resize and data.mirrored should be given only when data.source is folder")
        return self


def load(source: ImageSource, folder_setting: Path | None) -> ImageData:
    """The images that ``source`` asks for; ``folder_setting`` is the data directory, or None for the default."""
    from repro.data import cifar100, icons, image_folder

    if source.folder is not None:
        return image_folder.load(source.folder, source.resize, source.horizontal_flip)
    if source.source == "cifar100":
        return cifar100.load(data_folder(folder_setting))
    if source.source == "mnist":
        return digits(data_folder(folder_setting))
    return icons.load()


def digits(folder: Path) -> ImageData:
    """MNIST as images, the last 10,000 of its training cases set apart for validation."""
    from repro.data import mnist

    found = mnist.load(folder)
    train, validation, test = (
        ImageSet((one.images * 255).round().byte().view(-1, 1, 28, 28), one.labels)
        for one in (found.split("train"), found.split("validation"), found.test)
    )
    return ImageData("mnist", tuple("0123456789"), train, validation, test, horizontal_flip=False, digest=found.digest)


def fewer(data: ImageData, count: int) -> ImageData:
    """The same with so many training images, drawn once and for all."""
    drawn = torch.randperm(len(data.train), generator=generator(Stream.IMAGE_FRACTION))[:count].sort().values
    return ImageData(
        data.name, data.classes, data.train[drawn], data.validation, data.test, data.horizontal_flip, data.digest
    )
