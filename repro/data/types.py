"""Image data sets once they are read, the same for every source."""

from dataclasses import dataclass, field

from jaxtyping import Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes.

    Images are bytes of shape (case, channel, row, column); MNIST's, for fully connected models, are rows of 784 float32
    pixels in 0 .. 1.
    """

    images: Shaped[Tensor, "case ..."]
    labels: Int[Tensor, "case"]

    def __getitem__(self, cases: slice | Tensor) -> "ImageSet":
        """Return the chosen cases, by slice, indices or mask."""
        return ImageSet(self.images[cases], self.labels[cases])

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set split into train, validation and test, none of which shares an image with another.

    Attributes:
        name: data set that results are filed under.
        horizontal_flip: whether an image and its mirror image are of one class, so that training may use both.
        digest: identifies the content of all three parts.
        left_out: files that cannot be used, or are in two parts, by reason.
        remarked: images that were changed when they were read, by reason.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    horizontal_flip: bool
    digest: str
    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarked: dict[str, list[str]] = field(default_factory=dict)

    def files_by_reason(self) -> dict[str, dict[str, list[str]]]:
        """Return ``left_out`` and ``remarked`` by these names, where they are not empty."""
        return {name: files for name in ("left_out", "remarked") if (files := getattr(self, name))}
