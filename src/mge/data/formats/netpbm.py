"""PBM, PGM and PPM in binary: Pillow reads those of odd depths, and all in text, one value at a time."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mge.data.formats.costs import check_size, damaged
from mge.errors import DataError

MAX_HEADER = 10_000  # bytes, with its comments
CHANNELS = {b"P4": 1, b"P5": 1, b"P6": 3}
Values = npt.NDArray[Any]
ROWS = 256  # scaled at a time
COMMENT = re.compile(rb"#[^\n\r]*")


def read(content: bytes, *, name: str) -> Image.Image:
    """Read the image in a file, black and white, grey or RGB, with eight bits per value.

    Args:
        content: The file.
        name: Name of the photo in errors.

    Raises:
        DataError: it is of another kind, damaged, or has too many pixels.
    """
    kind = content[:2]
    if kind not in CHANNELS:
        raise DataError(
            f"{name} is a {_called(kind)}; accepted: binary PBM, PGM and PPM (P4, P5, P6); convert it, or save it as "
            "PNG"
        )
    (width, height, highest), start = _header(content, 2 if kind == b"P4" else 3, name)
    check_size((width, height), name=name)
    channels, depth = CHANNELS[kind], 1 if highest < 256 else 2
    row = (width + 7) // 8 if kind == b"P4" else width * channels * depth
    if len(content) < start + row * height:
        raise damaged(name, "a PBM, PGM or PPM")
    stored = np.frombuffer(content, np.uint8 if depth == 1 else ">u2", count=row * height // depth, offset=start)
    if kind == b"P4":
        return Image.frombytes("1", (width, height), stored.tobytes(), "raw", "1;I")
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(_eight_bits(stored.reshape(shape), highest))


def _called(kind: bytes) -> str:
    return "text PBM, PGM or PPM" if kind in (b"P1", b"P2", b"P3") else f"{kind.decode('latin-1')} of Netpbm's family"


def _header(content: bytes, count: int, name: str) -> tuple[tuple[int, int, int], int]:
    """Read width, height, the highest value (1 if not given), and the position of the pixels."""
    head = COMMENT.sub(lambda found: b" " * len(found[0]), content[:MAX_HEADER])
    found = re.match(rb"P\d" + rb"\s+(\d{1,9})" * count + rb"\s", head)
    if found is None:
        raise damaged(name, "a PBM, PGM or PPM")
    numbers = [int(number) for number in found.groups()] + [1]
    width, height, highest = numbers[:3]
    if not width or not height or not 0 < highest < 65536:
        raise damaged(name, "a PBM, PGM or PPM")
    return (width, height, highest), found.end()


def _eight_bits(values: Values, highest: int) -> Values:
    if highest == 255:
        return values
    table = np.rint(np.arange(highest + 1) * (255 / highest)).astype(np.uint8)
    shown = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), ROWS):
        shown[top : top + ROWS] = table[np.minimum(values[top : top + ROWS], highest)]
    return shown
