"""Decoding of images: every mode and format is read as a viewer shows it, or refused by name."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from repro.data import pictures
from repro.errors import UserError

SIZE = (12, 10)
RED, WHITE = [255, 0, 0], [255, 255, 255]
SMOOTH = np.stack([np.add.outer(np.arange(10), np.arange(12)) * scale for scale in (10, 8, 5)], -1).astype(np.uint8)
PHOTO = Image.fromarray(SMOOTH)


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def png(depth: int, color: int, values: np.ndarray, transparent: bytes = b"") -> bytes:
    """Return a PNG file of given samples, such as of 16 bits, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *([chunk(b"tRNS", transparent)] if transparent else []),
             chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def read(tmp_path):
    """Return a function that decodes the content of a file to (row, column, channel) with remarks."""

    def decode(content: bytes, name: str = "image.png", resize: int | None = None):
        (tmp_path / name).write_bytes(content)
        picture = pictures.read(tmp_path / name, 0, resize)
        return picture.pixels.transpose(1, 2, 0), list(picture.remarks)

    return decode


def transparent(mode: str) -> Image.Image:
    """Return a red image whose left half is transparent black."""
    image = Image.new("RGBA", SIZE, "red")
    image.paste((0, 0, 0, 0), (0, 0, 6, 10))
    return image.convert(mode)


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(PHOTO, *profiles, outputMode="LAB")
    image.info.clear()
    return image


# Content, and the RGB or gray image that a viewer shows with the largest difference of a level.
SHOWN = {
    "1": (file_of(PHOTO.convert("1"), "PNG"), PHOTO.convert("1").convert("L"), 0),
    "L": (file_of(PHOTO.convert("L"), "PNG"), PHOTO.convert("L"), 0),
    "P": (file_of(PHOTO.quantize(256), "PNG"), PHOTO.quantize(256).convert("RGB"), 0),
    "GIF": (file_of(PHOTO.quantize(256), "GIF"), PHOTO.quantize(256).convert("RGB"), 0),
    "RGB": (file_of(PHOTO, "PNG"), PHOTO, 0),
    "RGBX": (file_of(PHOTO.convert("RGBX"), "TIFF"), PHOTO, 0),
    "RGBA": (file_of(PHOTO.convert("RGBA"), "WEBP", lossless=True), PHOTO, 0),
    "CMYK": (file_of(PHOTO.convert("CMYK"), "TIFF"), PHOTO, 1),
    "CMYK JPEG": (file_of(PHOTO.convert("CMYK"), "JPEG", quality=100), PHOTO, 4),
    "YCbCr": (file_of(PHOTO.convert("YCbCr"), "TIFF"), PHOTO, 4),
    "JPEG": (file_of(PHOTO, "JPEG", quality=100, subsampling=0), PHOTO, 4),
    "LAB": (file_of(lab(), "TIFF"), PHOTO, 6),
    "BMP": (file_of(PHOTO, "BMP"), PHOTO, 0),
    "JPEG 2000": (file_of(PHOTO, "JPEG2000"), PHOTO, 0),
    "TGA": (file_of(PHOTO, "TGA"), PHOTO, 0),
}


@pytest.mark.parametrize("case", SHOWN)
def test_every_mode_is_read_as_shown(read, case):
    content, shown, tolerance = SHOWN[case]
    pixels, remarks = read(content)
    wanted = np.atleast_3d(np.asarray(shown)).astype(int)
    assert pixels.shape == wanted.shape and abs(pixels - wanted).max() <= tolerance and remarks == []


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("PA", "TIFF"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF")])
def test_transparent_pixels_are_white(read, mode, kind):
    if mode == "P":
        image = Image.new("P", SIZE, 1)
        image.putpalette([0, 0, 0, *RED])
        image.paste(0, (0, 0, 6, 10))
        content = file_of(image, kind, transparency=0)
    else:
        content = file_of(transparent("RGBA" if mode == "PA" else mode).convert(mode), kind)
    pixels, _ = read(content)
    color = [76] if mode == "LA" else RED
    assert pixels[5, 2].tolist() == WHITE[: len(color)] and pixels[5, 9].tolist() == color


DEEP = np.linspace(0, 65535, 120).round().astype(np.uint16).reshape(10, 12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PGM", "JPEG 2000", "RGB", "LA"])
def test_sixteen_bits_become_the_high_eight(read, kind):
    content = {
        "PNG": lambda: file_of(Image.fromarray(DEEP), "PNG"),
        "TIFF": lambda: file_of(Image.fromarray(DEEP), "TIFF"),
        "big-endian TIFF": lambda: file_of(Image.fromarray(DEEP.astype(">u2")), "TIFF"),
        "PGM": lambda: b"P5 12 10 65535\n" + DEEP.astype(">u2").tobytes(),
        "JPEG 2000": lambda: file_of(Image.fromarray(DEEP), "JPEG2000"),
        "RGB": lambda: png(16, 2, np.stack([DEEP] * 3, -1)),
        "LA": lambda: png(16, 4, np.stack([DEEP, np.full_like(DEEP, 65535)], -1)),
    }[kind]()
    pixels, remarks = read(content)
    assert (pixels[:, :, 0] == DEEP >> 8).all() and remarks == []
    assert abs(pixels[:, :, 0] - DEEP / 257).max() < 1  # a viewer's rounding differs by less than a level


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3)])
def test_a_transparent_color_of_sixteen_bits_is_white(read, color, channels):
    values = np.full((10, 12, channels), 0x1234, np.uint16)
    values[5:] = 0x34FF  # its high byte is the low byte of the other
    pixels, _ = read(png(16, color, values, struct.pack(">H", 0x1234) * channels))
    assert (pixels[:5] == 255).all() and (pixels[5:] == 0x34).all()


def test_dark_images_of_sixteen_bits_are_remarked_on(read):
    pixels, remarks = read(file_of(Image.fromarray(DEEP >> 4), "PNG"))
    assert pixels.max() == 15 and remarks == [pictures.DARK]
    assert read(file_of(Image.fromarray(DEEP * 0), "PNG"))[1] == []


def test_tiffs_of_sixteen_bits_in_which_zero_is_white_are_inverted(read):
    def content(values):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[ExifTags.Base.PhotometricInterpretation] = 0
        return file_of(Image.fromarray(values), "TIFF", tiffinfo=tags)

    pixels, remarks = read(content(DEEP))
    assert (pixels[:, :, 0] == (65535 - DEEP) >> 8).all() and remarks == []
    pixels, remarks = read(content(DEEP >> 4))
    assert pixels.min() == 240 and remarks == [pictures.LIGHT]
    with pytest.raises(UserError, match="16 bits with values below 256"):
        read(content(DEEP >> 8))


# What a viewer makes of the stored rows and columns, by EXIF orientation.
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
    9: lambda a: a,  # undefined
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "16-bit PNG"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_are_turned_upright(read, kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    stored = Image.fromarray(DEEP) if kind == "16-bit PNG" else PHOTO
    pixels, remarks = read(file_of(stored, kind.removeprefix("16-bit "), exif=exif, **options))
    upright = ORIENTATIONS[orientation]((DEEP >> 8)[:, :, None] if kind == "16-bit PNG" else SMOOTH)
    assert pixels.shape == upright.shape and abs(pixels - upright.astype(int)).max() <= 4 and remarks == []


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("damage", [b"II*\0\xff\xff\xff\xff", b"garbage", b"MM\0*\0\0\0\x08\0\x05"])
def test_malformed_exif_data_are_ignored(read, kind, damage):
    pixels, remarks = read(file_of(PHOTO, kind, exif=b"Exif\0\0" + damage))
    assert pixels.shape == (10, 12, 3)
    assert remarks == ([pictures.BAD_EXIF] if (kind, damage) == ("PNG", b"garbage") else [])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "MPO"])
def test_the_first_frame_is_used_and_remarked_on(read, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "blue")]
    pixels, remarks = read(file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert abs(pixels[0, 0].astype(int) - RED).max() <= 2 and remarks == [pictures.FIRST_FRAME]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_damage_after_the_first_frame_does_not_matter(read, kind):
    draw = np.random.default_rng(0)
    frames = [Image.fromarray(draw.integers(0, 256, (10, 12, 3), dtype=np.uint8)).quantize(16) for _ in range(3)]
    content = file_of(frames[0], kind, save_all=True, append_images=frames[1:])
    pixels, remarks = read(content[: -len(content) // 4])
    assert (pixels == np.asarray(frames[0].convert("RGB"))).all() and remarks == [pictures.FIRST_FRAME]


def test_other_color_profiles_are_remarked_on(read):
    for name, remarks in (("sRGB", []), ("XYZ", [pictures.PROFILE])):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
        assert read(file_of(PHOTO, "PNG", icc_profile=profile))[1] == remarks
    assert read(file_of(PHOTO, "PNG", icc_profile=b"garbage"))[1] == [pictures.PROFILE]


def test_the_content_decides_the_format_and_not_the_extension(read):
    assert (read(file_of(PHOTO, "PNG"), "image.JPG")[0] == SMOOTH).all()


REFUSED = {
    "zero bytes": (b"", "the file is empty"),
    "text": (b"hello", "not in a format that is read, or damaged"),
    "truncated": (file_of(PHOTO, "BMP")[:200], "truncated"),
    "truncated JPEG": (file_of(PHOTO, "JPEG")[:600], "Truncated"),
    "PostScript": (file_of(PHOTO, "EPS"), "not in a format that is read, or damaged"),
    "32-bit integers": (file_of(Image.new("I", SIZE), "TIFF"), "pixels of mode I have no known range"),
    "floating point": (file_of(Image.new("F", SIZE), "TIFF"), "pixels of mode F have no known range"),
    "8 bits in 16": (file_of(Image.fromarray(DEEP >> 8), "PNG"), "16 bits with values below 256"),
    "decompression bomb": (b"P6 60000 60000 255\n", "exceeds limit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_by_name_in_one_line(read, case):
    content, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        read(content)
    text = str(error.value)
    assert "image.png: cannot be read (" in text and message in text and "\n" not in text


def test_extensions_include_those_of_torchvision():
    torchvision = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
    assert torchvision <= pictures.extensions() and not {".eps", ".h5", ".txt"} & pictures.extensions()
