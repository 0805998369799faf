"""What every image data set of many classes is once it is read, wherever it came from."""

from dataclasses import dataclass

from jaxtyping import Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images of 0 .. 255, and their classes."""

    images: UInt8[Tensor, "case channel row column"]
    labels: Int[Tensor, "case"]

    def __getitem__(self, cases: slice | Tensor) -> "ImageSet":
        return ImageSet(self.images[cases], self.labels[cases])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set split into train, validation and test, none of which shares an image with another.

    ``name`` is the setting that results stand under; ``horizontal_flip`` says whether an image and its mirror
    image are of one class, so that training may use both; ``digest`` names the content of all three parts.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    horizontal_flip: bool
    digest: str
