"""JPEG: segments before the first scan, and scans counted before they are decoded."""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from mge.data.formats.costs import MAX_DECODING_BYTES, MAX_SCANNED_VALUES, check_bytes, check_size, damaged, too_many
from mge.errors import DataError

MAX_SEGMENTS = 2000  # before the first scan, and after it
MAX_KEPT_BYTES = 200_000  # of all segments that a decoder needs; a photo has 1,000, and 65,000 of EXIF at most

SCAN, END, RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
TABLES = (0xC4, 0xCC, 0xDB, RESTART_INTERVAL)  # Huffman and arithmetic codes, quantization
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
NOTES = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xEE: b"Adobe"}  # what colours mean, and which side is up
MARKER = re.compile(rb"\xff[^\xff]")  # of several 0xFF in a row, the last
MARKER_BETWEEN_SCANS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class Frame(NamedTuple):
    """What a JPEG says about its pixels."""

    is_progressive: bool
    size: tuple[int, int]
    sampling: list[tuple[int, int]]  # of each component

    @property
    def values_a_pixel(self) -> float:
        """Components, each as far as it is sampled."""
        most = max(x for x, _ in self.sampling) * max(y for _, y in self.sampling)
        return sum(x * y for x, y in self.sampling) / max(1, most)


class Segment(NamedTuple):
    """A marker, and where what belongs to it lies in the file."""

    marker: int
    start: int  # of the marker
    content: int
    end: int


def plain(content: bytes, *, name: str) -> bytes:
    """Returns a JPEG with one picture and no notes but its orientation.

    Args:
        content: The file.
        name: What an error calls it.

    Raises:
        DataError: it is damaged, or would take too much time or memory.
    """
    kept, frame = [b"\xff\xd8"], None
    for segment in _segments(content, 2, MARKER, name):
        data = content[segment.content : segment.end]
        if segment.marker == SCAN:
            if frame is not None and (frame.is_progressive or data[:1] != bytes([len(frame.sampling)])):
                _check_scans(content, segment.start, frame, name)
            return b"".join([*kept, memoryview(content)[segment.start :]])
        if segment.marker in FRAMES:
            frame = _frame(segment.marker, data, name)
        if segment.marker in TABLES or segment.marker in FRAMES or _is_note(segment.marker, data, kept):
            kept.append(content[segment.start : segment.end])
        if sum(map(len, kept)) > MAX_KEPT_BYTES:
            raise DataError(f"{name} cannot be read: it is a JPEG with more tables than any photo has")
    raise damaged(name, "a JPEG")


def _is_note(marker: int, data: bytes, kept: list[bytes]) -> bool:
    """Return whether it is a note that counts, and the first of its kind."""
    start = NOTES.get(marker)
    return start is not None and data.startswith(start) and all(previous[1] != marker for previous in kept)


def _segments(content: bytes, position: int, pattern: re.Pattern[bytes], name: str) -> Iterator[Segment]:
    """Yields segment by segment until the file ends or is damaged; what lies between them is passed over."""
    for _ in range(MAX_SEGMENTS):
        found = pattern.search(content, position)
        if found is None:
            return
        marker = found[0][1]
        position = found.end()
        if marker == END:
            return
        if marker <= 1 or 0xD0 <= marker <= 0xD8:
            continue  # it stands alone
        length = int.from_bytes(content[position : position + 2], "big")
        if length < 2 or position + length > len(content):
            return
        yield Segment(marker, position - 2, position + 2, position + length)
        position += length
    raise too_many(name, "segments", MAX_SEGMENTS)


def _frame(marker: int, data: bytes, name: str) -> Frame:
    if len(data) < 6 or len(data) < 6 + 3 * data[5]:
        raise damaged(name, "a JPEG")
    height, width, components = struct.unpack_from(">HHB", data, 1)
    if not width or not height or not components:
        raise damaged(name, "a JPEG")
    check_size((width, height), name=name)
    sampling = [(data[6 + 3 * n + 1] >> 4, data[6 + 3 * n + 1] & 15) for n in range(components)]
    return Frame(marker in PROGRESSIVE, (width, height), sampling)


def _check_scans(content: bytes, start: int, frame: Frame, name: str) -> None:
    """Checks a JPEG whose pixels come in several scans: its decoder holds all values, and reads every scan."""
    pixels = frame.size[0] * frame.size[1]
    needed = round(pixels * (4 + 2 * frame.values_a_pixel))
    said = f"a JPEG of {frame.size[0]} x {frame.size[1]} pixels in several scans"
    check_bytes(needed, allowed=MAX_DECODING_BYTES, name=name, what=said)
    scans = values = 0
    for segment in _segments(content, start, MARKER_BETWEEN_SCANS, name):
        if segment.marker == SCAN:
            scans += 1
            values += pixels * content[segment.content]
        if values > MAX_SCANNED_VALUES:
            raise DataError(f"{name} is a JPEG of {scans} scans or more, which would take too long; save it anew")
