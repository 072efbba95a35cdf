"""AVIF: the size of its pictures as they are coded, which may be far larger than the size that the file declares.

The decoder decodes what each coded picture says about itself, and only then scales it to the declared size: a file of
1 kB that declares 64 x 64 pixels may take a gigabyte.
"""

import struct
from collections.abc import Iterator

from mge.data.formats.costs import MAX_PIXELS_OF, check_size, damaged, too_many
from mge.errors import DataError

MAX_UNITS = 10_000  # of coded data, boxes, and pictures
MAX_CODED_PIXELS = 4 * MAX_PIXELS_OF["AVIF"]  # of all pictures: color, alpha, layers, thumbnails
MAX_SIZE_BITS = 27  # of width and height together: a frame may be as large as these bits can say
SEQUENCE_HEADER, FRAMES = 1, (3, 6)  # types of units
Span = tuple[int, int]  # where something begins and ends


def plain(content: bytes, *, name: str) -> bytes:
    """Return an AVIF as a still: of an animation, the decoder is shown the primary picture only.

    Args:
        content: The file.
        name: Name of the photo in errors.

    Raises:
        DataError: it is damaged, or would take too much time or memory.
    """
    try:
        found = [(kind, span) for kind, span in _boxes(content, (0, len(content)), name)]
        coded = [data for kind, (start, end) in found if kind == b"meta"
                 for data in _coded_pictures(content, (start + 4, end), name)]  # fmt: skip
        _check_pictures(coded, name)
        start, end = next(span for kind, span in found if kind == b"ftyp")
    except DataError:
        raise
    except (struct.error, IndexError, StopIteration, ValueError) as error:
        raise damaged(name, "an AVIF") from error
    found_brands = [content[at : min(at + 4, end)] for at in range(start, end, 4)]
    brands = b"".join(b"avif" if brand == b"avis" else brand for brand in found_brands)
    return content[:start] + brands + content[end:]


def _boxes(content: bytes, span: Span, name: str) -> Iterator[tuple[bytes, Span]]:
    """Yield the type of each box, and where its content is."""
    position, last = span
    for _ in range(MAX_UNITS):
        if position >= last:
            return
        size, kind = struct.unpack_from(">I4s", content, position)
        start = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, start)
            start += 8
        end = position + size if size else last
        if end < start:
            raise damaged(name, "an AVIF")
        yield kind, (start, min(end, last))
        position = end
    raise too_many(name, "boxes", MAX_UNITS)


def _coded_pictures(content: bytes, meta: Span, name: str) -> list[bytes]:
    """Return the coded data of each picture."""
    inner = dict(_boxes(content, meta, name))
    if b"iinf" not in inner or b"iloc" not in inner:
        return []
    start, end = inner[b"iinf"]
    start += 6 if content[start] == 0 else 8  # version, flags and a count
    kinds: dict[int, bytes] = {}
    for kind, (at, _) in _boxes(content, (start, end), name):
        if kind == b"infe" and content[at] in (2, 3):
            number, item_kind = struct.unpack_from(">H2x4s" if content[at] == 2 else ">I2x4s", content, at + 4)
            kinds[number] = item_kind
    pictures, length = [], 0
    for number, spans in _locations(content, inner[b"iloc"], name, own=inner.get(b"idat", (0, 0))[0]):
        if kinds.get(number) == b"av01":
            length += sum(end - start for start, end in spans)
            if length > 2 * len(content):  # many pictures of the same bytes
                raise damaged(name, "an AVIF")
            pictures.append(b"".join(content[start:end] for start, end in spans))
    return pictures


def _locations(content: bytes, box: Span, name: str, *, own: int) -> Iterator[tuple[int, list[Span]]]:
    """Yield the number of each item, and where its parts are.

    Args:
        content: The file.
        box: Where the list of locations is.
        name: Name of the photo in errors.
        own: Where data begin that lie beside the list.
    """
    reader = _Fields(content, box)
    version = reader.take(1)
    reader.take(3)
    sizes = reader.take(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    count = reader.take(wide)
    if count > MAX_UNITS:
        raise too_many(name, "pictures", MAX_UNITS)
    for _ in range(count):
        number = reader.take(wide)
        is_own = version and reader.take(2) & 15 == 1
        reader.take(2)
        base = reader.take(base_size) + (own if is_own else 0)
        spans = []
        for _ in range(reader.take(2)):
            reader.take(index_size)
            start = base + reader.take(offset_size)
            length = reader.take(length_size) or len(content)
            spans.append((min(start, len(content)), min(start + length, len(content))))
        yield number, spans


def _check_pictures(pictures: list[bytes], name: str) -> None:
    """Check the sizes and the number of the frames that the decoder would decode."""
    num_units = total = 0
    for data in pictures:
        pixels = 0
        for kind, (start, end) in _units(data):
            num_units += 1
            if num_units > MAX_UNITS:
                raise too_many(name, "units of data", MAX_UNITS)
            if kind == SEQUENCE_HEADER:
                size, bits = _coded_size(data[start:end])
                check_size(size, name=name, form="AVIF")
                if bits > MAX_SIZE_BITS:
                    raise damaged(name, "an AVIF")
                pixels = max(pixels, size[0] * size[1])
            elif kind in FRAMES:
                total += pixels
            if total > MAX_CODED_PIXELS:
                raise DataError(
                    f"{name} has frames of more than {MAX_CODED_PIXELS // 1_000_000} million pixels in all, which an "
                    "AVIF must not have; save it as a still picture"
                )


def _units(data: bytes) -> Iterator[tuple[int, Span]]:
    """Yield the type of each unit of coded data, and where its content is."""
    position = 0
    while position < len(data):
        head = data[position]
        position += 2 if head & 4 else 1
        end = len(data)
        if head & 2:
            length, shift = 0, 0
            while True:
                length |= (data[position] & 127) << shift
                shift += 7
                position += 1
                if not data[position - 1] & 128 or shift > 56:
                    break
            end = position + length
        yield head >> 3 & 15, (position, min(end, len(data)))
        position = end


def _coded_size(header: bytes) -> tuple[tuple[int, int], int]:
    """Read the largest width and height of a sequence header.

    Returns:
        The size, and the number of bits that a frame may say another size with.
    """
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    is_reduced = bits.take(1)
    if is_reduced:
        bits.take(5)
    else:
        _pass_operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    size = bits.take(wide) + 1, bits.take(high) + 1
    return size, 0 if is_reduced else wide + high


def _pass_operating_points(bits: "_Bits") -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(min(zeros, 32))
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_delay and bits.take(1):
            bits.take(4)


class _Fields:
    """Numbers of whole bytes, one after the other."""

    def __init__(self, content: bytes, span: Span) -> None:
        self.content, (self.position, self.end) = content, span

    def take(self, size: int) -> int:
        """Return the next number; ValueError if the box ends before it."""
        start, self.position = self.position, self.position + size
        if self.position > self.end:
            raise ValueError("a box is cut short")
        return int.from_bytes(self.content[start : self.position], "big")


class _Bits:
    """Numbers of bits, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data[:1000], "big"), 8 * len(data[:1000])

    def take(self, count: int) -> int:
        """Return the next number; ValueError if the data end before it."""
        self.left -= count
        if self.left < 0:
            raise ValueError("a header is cut short")
        return self.value >> self.left & ((1 << count) - 1)
