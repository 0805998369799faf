"""Decoding of one image file: what a viewer shows of it, as 8-bit gray or RGB."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from repro.errors import UserError, reason

SMALLEST, LARGEST = 8, 256  # pixels a side
# Formats that Pillow recognizes but does not decode, or decodes with another program.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Transformations that turn an image upright, by its EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FIRST_FRAME = "animated or of several pages, the first is used"
BAD_EXIF = "EXIF data that cannot be read, ignored"
DARK = "16 bits with values below 4096, dark as in a viewer"
LIGHT = "16 bits with values below 4096 where 0 is white, light as in a viewer"
PROFILE = "a color profile other than sRGB, not applied"


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image: one channel if it shows no color, else three."""

    path: Path
    label: int
    pixels: UInt8[np.ndarray, "channel row column"]
    file: str  # sha256 of the file
    bitmap: str  # sha256 of the pixels
    mirror_bitmap: str  # sha256 of the pixels of the mirror image, left to right
    remarks: tuple[str, ...]

    @property
    def size(self) -> str:
        """Return width and height as text."""
        return f"{self.pixels.shape[2]}x{self.pixels.shape[1]}"


def formats() -> list[str]:
    """Return the formats that are read, by Pillow's names."""
    Image.init()
    return sorted(set(Image.OPEN) - NOT_DECODED)


def extensions() -> set[str]:
    """Return the extensions of files that are read as images, in lower case."""
    known = formats()
    return {extension for extension, kind in Image.registered_extensions().items() if kind in known}


def read(path: Path, label: int, resize: int | None) -> Picture:
    """Decode one image.

    Raises:
        UserError: the image is unreadable, or its size is out of bounds and ``resize`` is None.
    """
    try:
        content = path.read_bytes()
        if not content:
            raise ValueError("the file is empty")
        with Image.open(BytesIO(content), formats=formats()) as image:
            rgb, remarks = _upright_rgb(image)
            if _has_more_frames(image):
                remarks.append(FIRST_FRAME)
    except Exception as error:  # a decoder may raise anything on damaged bytes
        unknown = "not in a format that is read, or damaged"
        message = unknown if isinstance(error, UnidentifiedImageError) else reason(error)
        raise UserError(f"image {path}: cannot be read ({message})") from error
    if resize is not None:
        rgb = ImageOps.fit(rgb, (resize, resize), Image.Resampling.BICUBIC)
    elif min(rgb.size) < SMALLEST or max(rgb.size) > LARGEST:
        size = "x".join(map(str, rgb.size))
        raise UserError(
            f"image {path}: is {size}, sides must be {SMALLEST} to {LARGEST} pixels; set data.resize to scale all "
            "images"
        )
    pixels = np.asarray(rgb).transpose(2, 0, 1)
    if (pixels == pixels[:1]).all():
        pixels = pixels[:1]
    pixels = np.ascontiguousarray(pixels)
    return Picture(
        path,
        label,
        pixels,
        file=hashlib.sha256(content).hexdigest(),
        bitmap=hashlib.sha256(pixels.data).hexdigest(),
        mirror_bitmap=hashlib.sha256(np.ascontiguousarray(pixels[:, :, ::-1]).data).hexdigest(),
        remarks=tuple(remarks),
    )


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return the first frame as a viewer shows it, with remarks on the conversion.

    It is rotated as its EXIF data say, on white where it is transparent, inverted where 0 is white, and of 16 bits has
    the high 8. Color profiles are not applied.
    """
    image.load()
    remarks = []
    if _has_other_profile(image.info.get("icc_profile")):
        remarks.append(PROFILE)
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a viewer shows the image all the same
        orientation = None
        remarks.append(BAD_EXIF)
    # Pillow gives gray PGM files of 16 bits as 32-bit integers of 0 to 65535.
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        # Pillow inverts TIFFs in which 0 is white up to 8 bits, but not those of 16.
        zero_is_white = getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0
        image, is_dark = _eight_bits(image)
        if zero_is_white:
            image = ImageOps.invert(image)
        if is_dark:
            remarks.append(LIGHT if zero_is_white else DARK)
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; store them in 8 or 16 bits")
    elif isinstance(color := image.info.get("transparency"), tuple) and max(color) > 255:
        # Pillow reads the high 8 of 16 bits of the pixels, but all 16 of the transparent color.
        image.info["transparency"] = tuple(value >> 8 for value in color)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), remarks


def _eight_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the high 8 of 16 bits, as Pillow does with RGB, and whether the image uses the lowest 12 bits alone.

    Raises:
        ValueError: it uses the lowest 8 bits alone, of which nothing would be left.
    """
    values = np.asarray(image)
    largest = int(values.max())
    if 0 < largest < 256:
        raise ValueError("16 bits with values below 256, of which a viewer shows nothing; store it in 8 bits")
    gray = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        opaque = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        gray = np.dstack([gray, opaque])
    return Image.fromarray(gray), 0 < largest < 4096


def _has_more_frames(image: Image.Image) -> bool:
    """Return whether an image that has been read has frames or pages after the first; those of a PSD are its layers."""
    try:
        return image.format != "PSD" and getattr(image, "n_frames", 1) > 1
    except Exception:  # one of them is damaged
        return True


def _has_other_profile(profile: bytes | None) -> bool:
    """Return whether there is a color profile whose description does not name sRGB."""
    if not profile:
        return False
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (OSError, ImageCms.PyCMSError):
        return True
    return "srgb" not in description.lower()
