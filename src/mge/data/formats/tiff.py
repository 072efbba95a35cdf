"""TIFF: the first page's own tags, and no others: a list of strips or notes may be as long as the file."""

import struct
from typing import NamedTuple

from mge.data.formats.costs import MAX_PIXELS, MAX_SCANNED_VALUES, check_bytes, check_size, damaged, too_many
from mge.errors import DataError

MAX_TAGS = 4096
MAX_STRIPS = 100_000
MAX_VALUES = 70_000  # of another tag: JPEG's tables are the longest
MAX_RAW_BYTES = 600_000_000
WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 259, 277, 322, 323
ROWS_A_STRIP = 278
STRIPS = (273, 279, 324, 325)  # where strips or tiles lie, and how long they are
# Besides these: meaning, order and prediction of values, palette, orientation, fax and JPEG options, alpha, sign.
NEEDED = frozenset(
    (WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, TILE_WIDTH, TILE_HEIGHT, ROWS_A_STRIP, *STRIPS, 262, 266, 274, 284, 292,
     293, 317, 320, 332, 338, 339, 347, *range(529, 533))
)  # fmt: skip
UNCOMPRESSED, JPEG = 1, 7
# As it is, fax, LZW, JPEG, Deflate of two kinds, PackBits, Zstandard.
COMPRESSIONS = frozenset((UNCOMPRESSED, 2, 3, 4, 5, JPEG, 8, 32773, 32946, 50000))
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of numbers that sizes and counts may have


class Kind(NamedTuple):
    """The two kinds of TIFF: with offsets of 32 and of 64 bits."""

    order: str  # of bytes, as struct has it
    entry: str  # tag, type, count, and the value or where it lies
    number: str  # how many entries there are
    offset: str
    header: bytes  # before the offset of the first page


class TiffTag(NamedTuple):
    """One tag of a page."""

    tag: int
    type: int
    length: int  # in values
    value: bytes


def plain(content: bytes, *, name: str) -> bytes:
    """Returns a TIFF of one page with the tags that its pixels need, and its orientation.

    Args:
        content: The file.
        name: What an error calls it.

    Raises:
        DataError: it is damaged, or would take too much time or memory.
    """
    kind = _kind(content[:8], name)
    try:
        (start,) = struct.unpack_from(kind.order + kind.offset, content, len(kind.header))
        (count,) = struct.unpack_from(kind.order + kind.number, content, start)
        if count > MAX_TAGS:
            raise too_many(name, "tags", MAX_TAGS)
        size, first = struct.calcsize(kind.order + kind.entry), start + struct.calcsize(kind.order + kind.number)
        places = range(first, first + count * size, size)
        entries = [TiffTag(*struct.unpack_from(kind.order + kind.entry, content, place)) for place in places]
    except (struct.error, OverflowError) as error:
        raise damaged(name, "a TIFF") from error
    kept: dict[int, TiffTag] = {}
    for entry in entries:
        if entry.tag in NEEDED and entry.type in SIZES:
            kept.setdefault(entry.tag, entry)
    _check(kept, content, kind, name)
    page = struct.pack(kind.order + kind.number, len(kept))
    page += b"".join(struct.pack(kind.order + kind.entry, *kept[tag]) for tag in sorted(kept))
    page += struct.pack(kind.order + kind.offset, 0)
    head = kind.header + struct.pack(kind.order + kind.offset, len(content) + len(content) % 2)
    return b"".join([head, memoryview(content)[len(head) :], b"\0" * (len(content) % 2), page])


def _kind(head: bytes, name: str) -> Kind:
    order = "<" if head[:2] == b"II" else ">"
    if struct.unpack(order + "H", head[2:4].ljust(2))[0] == 43:
        return Kind(order, "HHQ8s", "Q", "Q", head[:8])
    if len(head) < 8:
        raise damaged(name, "a TIFF")
    return Kind(order, "HHI4s", "H", "I", head[:4])


def _check(page: dict[int, TiffTag], content: bytes, kind: Kind, name: str) -> None:
    """Checks what a page declares.

    Raises:
        DataError: decoding it would take too much time or memory.
    """
    for entry in page.values():
        allowed = MAX_STRIPS if entry.tag in STRIPS else MAX_VALUES
        if entry.length > allowed:
            raise too_many(name, "strips or tiles" if entry.tag in STRIPS else f"values of tag {entry.tag}", allowed)

    def first(tag: int, default: int) -> int:
        return next(iter(_numbers(page.get(tag), content, kind)), default)

    width, height, compression = first(WIDTH, 0), first(HEIGHT, 0), first(COMPRESSION, UNCOMPRESSED)
    if not width or not height:
        raise damaged(name, "a TIFF")
    check_size((width, height), name=name)
    if compression not in COMPRESSIONS:
        raise DataError(f"{name} is a TIFF of compression {compression}; accepted: none, LZW, Deflate, JPEG, PackBits")
    tile = first(TILE_WIDTH, 1) * first(TILE_HEIGHT, 1)
    if tile > MAX_PIXELS:
        raise DataError(f"{name} has tiles of {tile} pixels; accepted: up to {MAX_PIXELS // 1_000_000} million")
    bits = first(BITS, 1) * first(SAMPLES, 1)
    said = f"a TIFF of {width} x {height} pixels of {bits} bits"
    check_bytes(max(width * height, tile) * bits // 8, allowed=MAX_RAW_BYTES, name=name, what=said)
    if compression != UNCOMPRESSED:
        part = max(tile, width * min(height, first(ROWS_A_STRIP, height))) if TILE_WIDTH not in page else tile
        _check_parts(page, content, kind, name, pixels=part if compression == JPEG else 0)


def _check_parts(page: dict[int, TiffTag], content: bytes, kind: Kind, name: str, *, pixels: int) -> None:
    """Checks compressed strips or tiles: each reads its own bytes, or the file would be read as often as it has them.

    Args:
        page: Its tags.
        content: The file.
        kind: Of TIFF.
        name: What an error calls it.
        pixels: Of a strip or tile of JPEG; 0 for other compression.

    Raises:
        DataError: it would take too much time.
    """
    scanned = total = 0
    for where, length in ((273, 279), (324, 325)):
        starts, lengths = (_numbers(page.get(tag), content, kind) for tag in (where, length))
        for start, size in zip(starts, lengths, strict=False):
            total += size
            if total > 2 * len(content):
                raise DataError(f"{name} is a TIFF whose parts overlap; save it anew")
            scanned += pixels * content.count(b"\xff\xda", start, start + size) if pixels else 0
            if scanned > MAX_SCANNED_VALUES:
                raise DataError(f"{name} is a TIFF of JPEGs of many scans, which would take too long; save it anew")


def _numbers(entry: TiffTag | None, content: bytes, kind: Kind) -> tuple[int, ...]:
    """The values of a tag; none where it is missing or has others than whole numbers."""
    if entry is None or entry.type not in WHOLE:
        return ()
    data, size = entry.value, entry.length * SIZES[entry.type]
    if size > len(data):
        (place,) = struct.unpack(kind.order + kind.offset, data)
        data = content[place : place + size]
    count = min(entry.length, len(data) // SIZES[entry.type])
    return struct.unpack_from(f"{kind.order}{count}{WHOLE[entry.type]}", data)
