"""Icons as images: rendering, and the test of whether two images count as the same picture."""

import io

import numpy as np
import torch
from jaxtyping import UInt8

from repro.data.embedded import SHADES, SIZE

RENDERER = "resvg-py==0.5.0"
LEVELS = 60  # brightness levels of a cell, see cells_of
SAME_CELLS, SAME_BITS = 1, 2  # see near_pairs


def render(svg: str) -> UInt8[np.ndarray, "32 32"]:
    """Render an icon in white on black, as MNIST's digits are, in 16 shades (0 .. 15).

    Raises:
        ValueError: the text is not an SVG image.
    """
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, background="#fff", skip_system_fonts=True)
    gray = 255 - np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(np.uint16)
    step = 255 // (SHADES - 1)
    return ((gray + step // 2) // step).astype(np.uint8)


def cells_of(images: UInt8[np.ndarray, "case 32 32"]) -> UInt8[np.ndarray, "case 256"]:
    """Return the brightness of each 2x2 pixels as one cell of 0 .. LEVELS, LEVELS being the brightest of its image.

    Cells are integers, so that everything computed from them is the same on every machine.
    """
    sums = images.reshape(-1, SIZE // 2, 2, SIZE // 2, 2).astype(np.int64).sum((2, 4)).reshape(len(images), -1)
    brightest = np.maximum(sums.max(1, keepdims=True), 1)
    return ((LEVELS * sums + brightest // 2) // brightest).astype(np.uint8)


def varied(cells: UInt8[np.ndarray, "case 256"], most: int) -> list[int]:
    """Return the indices of up to ``most`` different images: the first, then each time the one farthest from those."""
    cells, taken = cells.astype(np.int64), [0]
    distance = np.square(cells - cells[0]).sum(1)
    while len(taken) < most and distance.max() > SAME_CELLS * LEVELS**2:
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.square(cells - cells[taken[-1]]).sum(1))
    return taken


def near_pairs(cells: UInt8[np.ndarray, "case 256"]) -> set[tuple[int, int]]:
    """Return the pairs of images that count as the same picture.

    Either the squared distance of their cells is at most that of SAME_CELLS cells between black and white, or their
    cells, thresholded at half of the brightest, differ in at most SAME_BITS of 256. Both tests are needed: the second
    recognizes a picture in another line width but is unstable if a line covers half a cell, unlike the first.
    """
    bits = (cells >= LEVELS // 2).astype(np.uint8)
    return _close(cells, SAME_CELLS * LEVELS**2) | _close(bits, SAME_BITS)


def _close(vectors: UInt8[np.ndarray, "case cell"], most: int, block: int = 512) -> set[tuple[int, int]]:
    """Return pairs of rows at a squared distance of at most ``most``; exact, because the integers fit in a float32."""
    values = torch.from_numpy(vectors).float()
    squares, order = values.square().sum(1).sort(stable=True)
    values, norms, close = values[order], squares.sqrt(), set()
    for first in range(0, len(values), block):
        # |a - b| >= ||a| - |b||, so that among rows sorted by norm only the next few can be close.
        last = min(first + block, len(values)) - 1
        stop = int(torch.searchsorted(norms, norms[last] + most**0.5 + 1e-3))
        near = squares[first : last + 1, None] + squares[None, first:stop] <= most + 2 * (
            values[first : last + 1] @ values[first:stop].T
        )
        rows, columns = torch.nonzero(near.triu_(1), as_tuple=True)
        pairs = order[torch.stack([rows, columns]) + first].T.tolist()
        close |= {(min(pair), max(pair)) for pair in pairs}
    return close
