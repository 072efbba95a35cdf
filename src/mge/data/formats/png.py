"""PNG: the chunks that pixels need, and no others."""

import struct
import zlib

from mge.data.formats.costs import check_bytes, check_size, damaged, too_many

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000  # some programs write one for each row
MAX_RAW_BYTES = 280_000_000
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf")  # the last: which side is up
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type


def plain(content: bytes, *, name: str) -> bytes:
    """Returns a PNG with one picture and no notes but its orientation.

    Args:
        content: The file.
        name: What an error calls it.

    Raises:
        DataError: it is damaged, or would take too much time or memory.
    """
    kept: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    previous, position = b"", len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IEND":
            break
        end = position + 12 + length
        if kind == b"IDAT" and (previous == kind or not pixels):
            pixels.append(content[position + 8 : end - 4])
        elif kind in NEEDED:
            kept.setdefault(kind, content[position:end])
        previous, position = kind, end
    else:
        raise too_many(name, "chunks", MAX_CHUNKS)
    _check_header(kept.get(b"IHDR", b""), name)
    data = b"".join(pixels)
    return b"".join([SIGNATURE, *(kept[kind] for kind in NEEDED if kind in kept), chunk(b"IDAT", data), chunk(b"IEND")])


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Returns a chunk with its check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _check_header(header: bytes, name: str) -> None:
    if len(header) < 25:
        raise damaged(name, "a PNG")
    width, height, depth, color = struct.unpack_from(">IIBB", header, 8)
    if not width or not height or color not in CHANNELS:
        raise damaged(name, "a PNG")
    check_size((width, height), name=name)
    bits = depth * CHANNELS[color]
    said = f"a PNG of {width} x {height} pixels of {bits} bits"
    check_bytes(width * height * bits // 8, allowed=MAX_RAW_BYTES, name=name, what=said)
