"""Characters of a typeface as images: on one baseline, with capitals of one height, and not stretched to the image.

Every typeface is scaled so that its H is CAPITAL pixels high, and its letters stand on row BASELINE, so that "c" and
"C", a comma and an apostrophe, or a hyphen and a low line differ as they do in text. A character is centered by its
advance width, which an accent does not change: "a" stands where the "a" of "ä" does. One that would be cut off is
moved into the image; one that is larger than the image is left out.

Outlines are filled without hinting, which would draw the same outline differently in different places of a font.
"""

import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fontTools.pens.basePen import BasePen
from fontTools.pens.boundsPen import BoundsPen
from fontTools.ttLib import TTFont
from jaxtyping import UInt8
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from repro.data.embedded import SHADES, SIZE

CAPITAL, BASELINE = 15, 25  # pixels: room for two accents above a capital, and for descenders
SCALE = 4  # outlines are drawn this many times larger, then averaged
MARGIN = SIZE // 2  # pixels around an image that are drawn, too, to see what would be cut off
SIDE = SIZE + 2 * MARGIN
FAINT = 4  # of 15: an image with no pixel this bright is empty
REPLACEMENT = "\ufffd"  # stands for any character
# Height of x in heights of H: below the first, lower case is too small to be read; above the second, it is missing.
LOWER_CASE = 0.45, 1.05


class Unfit(Exception):
    """A typeface that is no text face, with the reason in a few words."""


class _Outline(BasePen):
    """Pen that collects an outline for matplotlib; the base class resolves components and curves."""

    def __init__(self, glyphs: Any) -> None:
        super().__init__(glyphs)
        self.points: list[tuple[float, float]] = []
        self.codes: list[np.uint8] = []

    def _add(self, code: np.uint8, *points: tuple[float, float]) -> None:
        self.points.extend(points)
        self.codes.extend([code] * len(points))

    def _moveTo(self, point: tuple[float, float]) -> None:
        self._add(Path.MOVETO, point)

    def _lineTo(self, point: tuple[float, float]) -> None:
        self._add(Path.LINETO, point)

    def _curveToOne(self, *points: tuple[float, float]) -> None:
        self._add(Path.CURVE4, *points)

    def _qCurveToOne(self, *points: tuple[float, float]) -> None:
        self._add(Path.CURVE3, *points)

    def _closePath(self) -> None:
        self._add(Path.CLOSEPOLY, (0, 0))


class Font:
    """An opened font file whose glyphs can be drawn."""

    def __init__(self, content: bytes) -> None:
        """Open a WOFF, TrueType or OpenType file."""
        font = TTFont(io.BytesIO(content), lazy=True)
        self.characters: Mapping[int, str] = font.getBestCmap() or {}
        self.box: str = font.getGlyphName(0)  # shown for characters that the font lacks
        self._glyphs: Any = font.getGlyphSet()
        self._units: int = font["head"].unitsPerEm

    def top(self, glyph: str) -> float:
        """Return the height of a glyph above the baseline, in ems."""
        bounds = BoundsPen(self._glyphs)
        self._glyphs[glyph].draw(bounds)
        return bounds.bounds[3] / self._units if bounds.bounds else 0.0

    def placed(self, glyph: str, em: float) -> Path:
        """Return the outline of a glyph on the canvas, in pixels from the left and from below, given pixels per em."""
        pen = _Outline(self._glyphs)
        self._glyphs[glyph].draw(pen)
        path = Path(np.array(pen.points).reshape(-1, 2), np.array(pen.codes, np.uint8))
        scale = em / self._units
        left = (SIDE - scale * self._glyphs[glyph].width) / 2
        return path.transformed(Affine2D().scale(scale).translate(left, SIDE - MARGIN - BASELINE))


class Canvas:
    """A reusable canvas, of an image and its margin, to fill outlines on."""

    def __init__(self) -> None:
        """Create an empty canvas."""
        self._agg = RendererAgg(SIDE * SCALE, SIDE * SCALE, 72)
        self._context = GraphicsContextBase()
        self._context.set_linewidth(0)
        self._context.set_snap(False)

    def fill(self, outline: Path) -> UInt8[np.ndarray, "32 32"] | None:
        """Return the image of an outline, or None if it is empty or larger than an image."""
        outline.should_simplify = False
        self._agg.clear()
        self._agg.draw_path(self._context, outline, Affine2D().scale(SCALE), (1.0, 1.0, 1.0))
        cover = np.asarray(self._agg.buffer_rgba())[:, :, 3]
        sums = cover.reshape(SIDE, SCALE, SIDE, SCALE).sum((1, 3), dtype=np.int64)
        step = 255 * SCALE**2 // (SHADES - 1)
        shades = ((sums + step // 2) // step).astype(np.uint8)
        rows, columns = (_window(np.flatnonzero(shades.any(axis))) for axis in (1, 0))
        if rows is None or columns is None or shades.max() < FAINT:
            return None
        return shades[rows, columns].copy()


def _window(inked: np.ndarray) -> slice | None:
    """Return the rows or columns of the image, moved as far as is needed to hold all that are inked."""
    if not len(inked) or inked[-1] - inked[0] >= SIZE or inked[0] == 0 or inked[-1] == SIDE - 1:
        return None
    start = int(min(max(MARGIN, inked[-1] + 1 - SIZE), inked[0]))
    return slice(start, start + SIZE)


def characters(fonts: Sequence[Font]) -> Iterator[tuple[str, Font, str]]:
    """Yield the printable characters of fonts, each once, with the first font that has it and the glyph's name there.

    Excluded: white space, control characters, combining marks, which do not stand alone, and the replacement
    character.
    """
    seen = {REPLACEMENT}
    for font in fonts:
        for code, glyph in sorted(font.characters.items()):
            character = chr(code)
            if character not in seen and unicodedata.category(character)[0] in "LNPS":
                seen.add(character)
                yield character, font, glyph


def render(contents: Sequence[bytes]) -> dict[str, UInt8[np.ndarray, "32 32"]]:
    """Return images by character, white on black in 16 shades (0 .. 15), as far as the typeface can show them.

    Args:
        contents: the typeface's font files. A character in several is taken from the first.

    Raises:
        Unfit: the typeface lacks capitals or lower case, or these are too small beside those.
    """
    fonts = [Font(content) for content in contents]
    listed = {character: (font, glyph) for character, font, glyph in characters(fonts)}
    if not {"H", "x"} <= listed.keys():
        raise Unfit("no Latin letters")
    capital, lower = (font.top(glyph) for font, glyph in (listed["H"], listed["x"]))
    if capital <= 0 or not LOWER_CASE[0] * capital <= lower <= LOWER_CASE[1] * capital:
        raise Unfit("capitals and lower case of very different size")
    canvas, em = Canvas(), CAPITAL / capital
    # The box of characters that a font lacks is no character, whatever the font's table says.
    boxes = {font: canvas.fill(font.placed(font.box, em)) for font in fonts}
    images = {}
    for character, (font, glyph) in listed.items():
        image, box = canvas.fill(font.placed(glyph, em)), boxes[font]
        if image is not None and (box is None or not np.array_equal(image, box)):
            images[character] = image
    return images
