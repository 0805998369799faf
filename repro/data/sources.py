"""The setting that selects the images of an experiment, and the images that it selects."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator, model_validator

from repro.config import Settings
from repro.data.download import data_folder
from repro.data.types import ImageData, ImageSet
from repro.engine.progress import ProgressDisplay
from repro.training.random_streams import Stream, generator


class ImageSource(Settings):
    """Setting ``data``: an image data set by name, or a folder of images."""

    renamed: ClassVar[dict[str, str]] = {"mirrored": "horizontal_flip"}

    source: Literal["icons", "letters", "cifar100", "mnist", "folder"] = Field(
        "icons", description='Image data set; "folder" reads the images in data.folder. Default: "icons".'
    )
    folder: Path | None = Field(
        None, description="Folder that holds train/<class>/ and test/<class>/; required with source folder only."
    )
    resize: int | None = Field(
        None,
        ge=8,
        le=256,
        description="Side in pixels of the squares that images of a folder are scaled to. Default: they stay as they "
        "are and must be of one size.",
    )
    horizontal_flip: bool = Field(
        True,
        description="Whether images of a folder may be mirrored in training, because an image and its mirror image "
        "are of one class. Default: true.",
    )

    @field_validator("folder", mode="before")
    @classmethod
    def _not_empty(cls, folder: object) -> object:
        if folder == "":  # which would be the working directory
            raise ValueError("must name a folder")
        return folder

    @model_validator(mode="after")
    def _named(self) -> "ImageSource":
        if (self.source == "folder") != (self.folder is not None):
            raise ValueError("data.folder must be given when data.source is folder, and only then")
        if self.source != "folder" and (self.resize is not None or not self.horizontal_flip):
            raise ValueError("data.resize and data.horizontal_flip must be given only when data.source is folder")
        return self


def load(source: ImageSource, folder_setting: Path | None) -> ImageData:
    """Read the images that ``source`` selects.

    Args:
        source: the setting ``data`` of an experiment.
        folder_setting: the data directory, or None for the default.

    Raises:
        UserError: they are missing, unreadable or altered, or cannot be fetched.
    """
    from repro.data import cifar100, icons, image_folder, letters

    if source.folder is not None:
        return image_folder.load(source.folder, source.resize, source.horizontal_flip)
    if source.source == "cifar100":
        return cifar100.load(data_folder(folder_setting))
    if source.source == "mnist":
        return mnist_images(data_folder(folder_setting))
    return letters.load() if source.source == "letters" else icons.load()


def load_reported(
    source: ImageSource, folder_setting: Path | None, max_train_examples: int | None, progress: ProgressDisplay
) -> ImageData:
    """Read the images that ``source`` selects, and list the files that were left out or changed.

    Args:
        source: the setting ``data`` of an experiment.
        folder_setting: the data directory, or None for the default.
        max_train_examples: largest number of training images; None for all.
        progress: display of the list.

    Raises:
        UserError: as ``load`` does.
    """
    data = load(source, folder_setting)
    used = len(data.train) + len(data.validation) + len(data.test)
    progress.list_by_reason("files", used, data.left_out, data.remarked)
    return fewer(data, max_train_examples) if max_train_examples and max_train_examples < len(data.train) else data


def mnist_images(folder: Path) -> ImageData:
    """Read MNIST as 28x28 images of bytes; the last 10,000 training cases are the validation split.

    Raises:
        UserError: no source can be reached, or none has the published bytes.
    """
    from repro.data import mnist

    digits = mnist.load(folder)
    train, validation, test = (
        ImageSet((part.images * 255).round().byte().view(-1, 1, 28, 28), part.labels)
        for part in (digits.split("train"), digits.split("validation"), digits.test)
    )
    return ImageData("mnist", tuple("0123456789"), train, validation, test, horizontal_flip=False, digest=digits.digest)


def fewer(data: ImageData, count: int) -> ImageData:
    """Return the data set with ``count`` of its training images, always the same random ones."""
    drawn = torch.randperm(len(data.train), generator=generator(Stream.IMAGE_FRACTION))[:count].sort().values
    return replace(data, train=data.train[drawn])
