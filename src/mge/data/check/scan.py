"""One look at every photo: whether it can be read whole, and what its copies are known by."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mge.data.photo import open_photo
from mge.data.records import Record
from mge.errors import DataError

SIDE = 128  # JPEGs are decoded down to this side: enough for hashes, which are made of 32 x 32 pixels
CHUNK = 256  # photos that are handed to the threads at a time


class PhotoScan(NamedTuple):
    """What a look at a photo found. Without hashes of what it shows only `error` and `digest` say something."""

    error: str = ""  # why it cannot be read; empty where it can
    digest: str = ""  # SHA-256 of the file's content, in hexadecimal; empty where it cannot be read
    perceptual: str = ""  # perceptual hash of what it shows: 64 bits in hexadecimal, hardly changed by resizing
    width: int = 0  # pixels, exact where they are below `SIDE`
    height: int = 0


def scan_photos(records: Sequence[Record], *, with_hashes: bool) -> Iterator[PhotoScan]:
    """Reads every photo, on all cores.

    Args:
        records: The photos.
        with_hashes: Whether hashes of what they show and sizes are wanted, too; without them a look takes a third of
            the time.

    Yields:
        The look at each photo, in order.
    """
    scan = partial(_scan, with_hashes=with_hashes)
    with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter's lock
        for start in range(0, len(records), CHUNK):
            yield from pool.map(scan, records[start : start + CHUNK])


def digest_contents(records: Sequence[Record]) -> Iterator[str]:
    """Reads every photo, without decoding it, on all cores.

    Args:
        records: The photos.

    Yields:
        The SHA-256 of each photo's content, in order, in hexadecimal; empty where it cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), CHUNK):
            yield from pool.map(_digest, records[start : start + CHUNK])


def thumbnail(record: Record, *, side: int) -> NDArray[np.uint8]:
    """A photo squashed into (side, side, 3).

    Raises:
        DataError: it cannot be read.
    """
    photo = open_photo(record.content, at_least_px=8 * side)
    return np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR))


def _scan(record: Record, *, with_hashes: bool) -> PhotoScan:
    try:
        content = record.content
        photo = open_photo(content, at_least_px=SIDE if with_hashes else 1)
        digest = _digest_of(content)
    except DataError as error:
        return PhotoScan(str(error).removeprefix(f"{record.path} ").removeprefix("the uploaded photo "))
    except OSError as error:  # it went between two reads, or its table cannot be read
        return PhotoScan(f"cannot be read: {error.strerror or error}")
    return PhotoScan("", digest, str(imagehash.phash(photo)), *photo.size) if with_hashes else PhotoScan("", digest)


def _digest(record: Record) -> str:
    try:
        is_pipe = record.read is None and not record.path.is_file()  # it would be waited for without end
        return "" if is_pipe else _digest_of(record.content)
    except (DataError, OSError):  # whoever opens it says why
        return ""


def _digest_of(content: Path | bytes) -> str:
    if not isinstance(content, Path):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
