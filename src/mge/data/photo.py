"""Opening a photo: one guarded function, so that no file can crash, hang or silently mislead a run."""

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

from mge.data.colours import to_rgb
from mge.data.signatures import HEAD, describe, kind_of
from mge.errors import DataError, first_line

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")
MAX_PIXELS = 70_000_000
MAX_ASPECT = 50  # no photo is thinner, and what is thinner still is a trap for whoever resizes it
MAX_SCANNED_PIXELS = 1_000_000_000  # a progressive JPEG of 100 kB may ask to paint all its pixels a thousand times over

ORIENTATION = 0x0112
# What turns a photo upright that was stored with an EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What readers of damaged files may raise. On 31,000 mutated files that was OSError, ValueError, SyntaxError, EOFError,
# RuntimeError and DecompressionBombError; the others are those that Pillow's own code reckons with. Calls of Pillow
# alone are guarded with it, so that it hides no mistake of ours.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, ArithmeticError, LookupError, TypeError, AttributeError,
    RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class NamedPhoto(NamedTuple):
    """A photo that is no file of its own: a row of a table, or a member of an archive."""

    name: str  # what people find it by
    read: Callable[[], bytes]  # gives the content of its file; raises DataError where it cannot
    file: str = ""  # the larger file that it lies in


def as_text(path: str) -> str:
    """A path that any file and terminal can hold: a name in another encoding than UTF-8 gets marks for odd letters."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def open_photo(
    photo: str | Path | bytes | Image.Image | NamedPhoto, *, name: str = "", at_least_px: int | None = None
) -> Image.Image:
    """A photo as it is shown: upright, RGB, transparency on white, the first frame of several.

    Args:
        photo: A file, the content of one, a picture that Pillow has opened, or a photo in a larger file.
        name: What an error calls it. By default the file's path.
        at_least_px: Shorter side in pixels that is enough. A JPEG of twice, four or eight times that is decoded at a
            fraction of its size, which is quicker. None: every pixel.

    Raises:
        DataError: it cannot be read whole, or is larger or thinner than any photo.
    """
    if isinstance(photo, NamedPhoto):
        return open_photo(photo.read(), name=name or photo.name, at_least_px=at_least_px)
    name = name or (str(photo) if isinstance(photo, str | Path) else "the uploaded photo")
    if isinstance(photo, Image.Image):
        return _as_shown(photo, name=name, at_least_px=at_least_px)
    if isinstance(photo, bytes):
        return _read(io.BytesIO(photo), name=name, at_least_px=at_least_px)
    if not isinstance(photo, str | os.PathLike):
        raise DataError(
            f"a photo is given as {type(photo).__name__}; accepted: a path, the bytes of a file, a Pillow image "
            "(Image.fromarray makes one of an array), or a list of these"
        )
    try:
        path = Path(photo)
        is_special = not path.is_file() and path.exists()  # a pipe, say, would be waited for without end
        file = None if is_special else path.open("rb")
    except (OSError, ValueError) as error:  # the latter of a path with a zero byte
        raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if file is None:
        raise DataError(f"{name} cannot be read: it is no file")
    with file:
        return _read(file, name=name, at_least_px=at_least_px)


def _read(file: BinaryIO, *, name: str, at_least_px: int | None) -> Image.Image:
    head = file.read(HEAD)
    file.seek(0)
    read = _heif_reader(name) if kind_of(head) == "HEIF" else _pillow
    try:
        with _quiet():
            opened = read(file)
    except UnidentifiedImageError as error:
        what = describe(head)
        raise DataError(
            f"{name} is not a photo that can be read{what and f': it is {what}'}; accepted: {', '.join(FORMATS)}, HEIC"
        ) from error
    except DAMAGE as error:
        raise _unreadable(error, name=name) from error
    with opened:
        if opened.info.get("progressive"):
            _check_scans(file, opened.size, name=name)
        return _as_shown(opened, name=name, at_least_px=at_least_px)


def _as_shown(opened: Image.Image, *, name: str, at_least_px: int | None) -> Image.Image:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name} has {width} x {height} pixels; accepted: up to {MAX_PIXELS // 1_000_000} million")
    if not min(opened.size):
        raise DataError(f"{name} is {width} x {height} pixels, and shows nothing; accepted: at least 1 x 1")
    if max(opened.size) > MAX_ASPECT * min(opened.size):
        raise DataError(f"{name} is {width} x {height} pixels; accepted: sides of at most {MAX_ASPECT} to 1")
    try:
        with _quiet():
            if at_least_px is not None:
                opened.draft(None, (at_least_px, at_least_px))
            opened.load()
            turn = UPRIGHT.get(_orientation(opened))
    except DAMAGE as error:
        raise _unreadable(error, name=name) from error
    try:
        shown = to_rgb(opened)
    except (OSError, ValueError, MemoryError) as error:
        raise _unreadable(error, name=name) from error
    if turn is not None:
        shown = shown.transpose(turn)
        shown.info = {}  # it says how the photo was stored: who opens this one again must not turn it again
    return shown


def _orientation(opened: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where nobody can tell."""
    try:
        value = opened.getexif().get(ORIENTATION)
    except DAMAGE:  # damaged notes about a photo leave the photo as it is
        return 1
    return value if isinstance(value, int) else 1


def _pillow(file: BinaryIO) -> Image.Image:
    return Image.open(file, formats=FORMATS)


def _heif_reader(name: str) -> Callable[[BinaryIO], Image.Image]:
    try:
        from pillow_heif.as_plugin import HeifImageFile  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise DataError(
            f"{name} is a HEIC photo, which pillow-heif is needed for; install it: pip install 'mge[heif]'"
        ) from error
    return HeifImageFile


def _check_scans(file: BinaryIO, size: tuple[int, int], *, name: str) -> None:
    position = file.tell()
    file.seek(0)
    scans = sum(block.count(b"\xff\xda") for block in iter(lambda: file.read(1 << 20), b""))
    file.seek(position)
    if scans * size[0] * size[1] > MAX_SCANNED_PIXELS:
        raise DataError(f"{name} is a JPEG of {scans} scans, which would take minutes to read; save it anew")


def _unreadable(error: BaseException, *, name: str) -> DataError:
    return DataError(f"{name} cannot be read: {first_line(error)}")


class _Quiet:
    """Warnings of Pillow about odd files, switched off while any thread reads one.

    `warnings.catch_warnings` changes the whole process: of two threads that overlap, the second would put back what
    the first had set, and every warning of the process would stay off.
    """

    lock, readers, catcher = threading.Lock(), 0, warnings.catch_warnings()


@contextmanager
def _quiet() -> Iterator[None]:
    with _Quiet.lock:
        if _Quiet.readers == 0:
            _Quiet.catcher = warnings.catch_warnings()
            _Quiet.catcher.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif|mge\.data\.")
        _Quiet.readers += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.readers -= 1
            if _Quiet.readers == 0:
                _Quiet.catcher.__exit__(None, None, None)
