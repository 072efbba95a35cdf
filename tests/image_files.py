"""Picture files, bit by bit: depths and damages that no program writes for a test."""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image

Values = npt.NDArray[Any]


def encode(image: Image.Image | Values, form: str, **options: Any) -> bytes:  # noqa: ANN401
    """What Pillow writes for a picture."""
    content = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(content, form, **options)
    return content.getvalue()


def jpeg(values: Values | Image.Image, **options: Any) -> bytes:  # noqa: ANN401
    """A JPEG that is close to the picture."""
    return encode(values, "JPEG", **{"quality": 98, "subsampling": 0} | options)


def heic(values: Values, **options: Any) -> bytes:  # noqa: ANN401
    """A HEIC photo, as iPhones write them."""
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(values)).save(content, quality=95, chroma=444, **options)
    return content.getvalue()


def chunk(name: bytes, data: bytes, *, damage: int = 0) -> bytes:
    """A chunk of a PNG; its check sum is wrong where there is damage."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ damage)


def png(
    values: Values, *, color: int, bits: int, size: tuple[int, int] | None = None, before: bytes = b"", damage: int = 0
) -> bytes:  # fmt: skip
    """A PNG of any depth, written by hand.

    Args:
        values: (height, width[, channels]).
        color: PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        bits: Of each value.
        size: Width and height that the header claims.
        before: Chunks before the pixels.
        damage: Of the check sum of the pixels' chunk.
    """
    rows = values.reshape(len(values), -1)
    if bits == 16:
        packed = [row.astype(">u2").tobytes() for row in rows]
    else:
        planes = [(row[:, None] >> np.arange(bits)[::-1]) & 1 for row in rows.astype(np.uint8)]
        packed = [np.packbits(plane.ravel()).tobytes() for plane in planes]
    content = zlib.compress(b"".join(b"\0" + row for row in packed))
    width, height = size or (values.shape[1], values.shape[0])
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    pixels = chunk(b"IDAT", content, damage=damage)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + chunk(b"IEND", b"")


def tiff(
    values: Values, *, photometric: int, bits: int | None = None, alpha: int | None = None,
    order: Literal["<", ">"] = "<", is_circle: bool = False,
) -> bytes:  # fmt: skip
    """An uncompressed TIFF, written by hand.

    Args:
        values: (height, width[, channels]).
        photometric: What a value means: 0 white is zero, 1 black is zero, 2 RGB.
        bits: Of each value, where it is not that of the array: 12.
        alpha: What the last channel is: 1 premultiplied alpha, 2 alpha.
        order: `<` for little-endian, `>` for big-endian.
        is_circle: Whether the next page is the first again.
    """
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    if bits == 12:
        planes = (values.astype(np.uint16)[..., None] >> np.arange(12)[::-1]) & 1
        data = np.packbits(planes.reshape(height, -1), axis=1).tobytes()
    else:
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    depth = bits or 8 * values.dtype.itemsize
    sign = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [depth] * channels, 259: [1], 262: [photometric], 273: [0], 277: [channels],
        278: [height], 279: [len(data)], 339: [sign] * channels,
    }  # fmt: skip
    if alpha is not None:
        tags[338] = [alpha]
    end = 8 + 2 + 12 * len(tags) + 4
    longs = b""
    entries = b""
    tags[273] = [end + sum(4 * len(numbers) for numbers in tags.values() if len(numbers) > 1)]
    for tag, numbers in sorted(tags.items()):
        value = numbers[0] if len(numbers) == 1 else end + len(longs)
        entries += struct.pack(order + "HHII", tag, 4, len(numbers), value)
        longs += struct.pack(f"{order}{len(numbers)}I", *numbers) if len(numbers) > 1 else b""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (
        start + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 8 * is_circle) + longs + data
    )


def netpbm(kind: str, highest: int, values: Values) -> bytes:
    """A PGM or PPM, whose header is text."""
    depth = ">u2" if highest > 255 else "u1"
    return f"{kind} {values.shape[1]} {values.shape[0]} {highest}\n".encode() + values.astype(depth).tobytes()


def half(content: bytes) -> bytes:
    """The first half of a file."""
    return content[: len(content) // 2]


def flip(content: bytes, position: int, bit: int = 0) -> bytes:
    """The same bytes with one bit turned round."""
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


def without_segment(content: bytes, marker: bytes) -> bytes:
    """A JPEG without its first segment of a kind."""
    start = content.index(marker)
    return content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]
