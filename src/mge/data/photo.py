"""Opening of photos: one guarded function, so that no file can crash, hang or silently mislead a run."""

import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from mge.data.color import to_rgb
from mge.data.file_type import HEAD, describe, form_of
from mge.data.formats import avif, bmp, gif, jpeg, netpbm, png, tiff, webp
from mge.data.formats.costs import LARGE_PIXELS, MAX_FILE_BYTES, check_size
from mge.errors import DataError, first_line

# Reduces each format's file before Pillow reads it.
PLAIN: dict[str, Callable[..., bytes]] = {
    "JPEG": jpeg.plain,
    "PNG": png.plain,
    "WEBP": webp.plain,
    "GIF": gif.plain,
    "BMP": bmp.plain,
    "TIFF": tiff.plain,
    "AVIF": avif.plain,
}
FORMATS = (*PLAIN, "PPM", "HEIC")

ORIENTATION = 0x0112
# The transposition that undoes each EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Exceptions raised for damaged files. On 31,000 mutated files these were OSError, ValueError, SyntaxError, EOFError,
# RuntimeError and DecompressionBombError; the others are handled by Pillow's own code. Only calls of Pillow are guarded
# with it, so that it hides no bug of ours.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, ArithmeticError, LookupError, TypeError, AttributeError,
    RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class NamedPhoto(NamedTuple):
    """A photo that is not a file of its own: a row of a table, or a member of an archive."""

    name: str  # its name for users
    read: Callable[[], bytes]  # returns the content of its file; raises DataError if it cannot
    file: str = ""  # the larger file that contains it


def as_text(path: str) -> str:
    """Replace characters of a path that are not valid UTF-8, so that any file and terminal can hold it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def open_photo(
    photo: str | Path | bytes | Image.Image | NamedPhoto,
    *,
    name: str = "",
    at_least_px: int | None = None,
    on_large: Callable[[], object] | None = None,
) -> Image.Image:
    """Open a photo as it is displayed: upright, RGB, transparency on white, the first frame of several.

    Args:
        photo: A file, the content of one, an image opened by Pillow, or a photo in a larger file.
        name: Name of the photo in errors. By default the file's path.
        at_least_px: Shorter side in pixels that is sufficient. A JPEG of twice, four or eight times that is decoded at
            a fraction of its size, which is faster. None: full resolution.
        on_large: Called before a photo of more than 20 million pixels is decoded, for example to wait.

    Raises:
        DataError: it cannot be read completely, or exceeds the limits of size or aspect ratio.
    """
    if isinstance(photo, NamedPhoto):
        return open_photo(photo.read(), name=name or photo.name, at_least_px=at_least_px, on_large=on_large)
    name = name or (str(photo) if isinstance(photo, str | Path) else "the uploaded photo")
    if isinstance(photo, Image.Image):
        return _as_shown(photo, name=name, at_least_px=at_least_px, on_large=on_large)
    if isinstance(photo, bytes):
        return _read(photo, name=name, at_least_px=at_least_px, on_large=on_large)
    if not isinstance(photo, str | os.PathLike):
        raise DataError(
            f"unsupported type of photo: {type(photo).__name__}; accepted: a path, the bytes of a file, a Pillow image "
            "(Image.fromarray makes one of an array), or a list of these"
        )
    return _read(_content(photo, name=name), name=name, at_least_px=at_least_px, on_large=on_large)


def _content(photo: str | Path, *, name: str) -> bytes:
    try:
        path = Path(photo)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe, say, would block forever
            raise DataError(f"{name} cannot be read: it is not a regular file")
        size = status.st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"{name} has {size / 1e9:.1f} GB; accepted: up to {MAX_FILE_BYTES / 1e9:g} GB")
        return path.read_bytes()
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a path with a zero byte
        raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read(content: bytes, *, name: str, at_least_px: int | None, on_large: Callable[[], object] | None) -> Image.Image:
    form = form_of(content[:HEAD])
    if form == "PPM":
        return _as_shown(netpbm.read(content, name=name), name=name, at_least_px=at_least_px, on_large=on_large)
    if form == "HEIF":
        read = _heif_reader(name)
    elif form in PLAIN:
        content, read = PLAIN[form](content, name=name), partial(Image.open, formats=(form,))
    else:
        raise _not_a_photo(content, name=name)
    file = io.BytesIO(content)
    del content  # do not keep a large one twice
    if form == "WEBP" and on_large is not None and webp.num_pixels(file.getbuffer()[:30].tobytes()) > LARGE_PIXELS:
        on_large()  # its decoder allocates as soon as the file is opened
        on_large = None
    try:
        with _quiet():
            opened = read(file)
    except UnidentifiedImageError as error:
        raise _not_a_photo(file.getvalue(), name=name) from error
    except DAMAGE as error:
        raise _unreadable(error, name=name) from error
    with opened:
        shown = _as_shown(opened, name=name, at_least_px=at_least_px, on_large=on_large)
    shown.info = {}  # keep only the pixels of an upload: encoders read options from here
    return shown


def _not_a_photo(content: bytes, *, name: str) -> DataError:
    what = describe(content[:HEAD])
    return DataError(
        f"{name} is not a photo that can be read{what and f': it is {what}'}; accepted: {', '.join(FORMATS)}"
    )


def _as_shown(
    opened: Image.Image, *, name: str, at_least_px: int | None, on_large: Callable[[], object] | None
) -> Image.Image:
    check_size(opened.size, name=name, form=opened.format or "")
    if on_large is not None and opened.width * opened.height > LARGE_PIXELS:
        on_large()
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
        shown.info = {}  # its orientation has been applied, and must not be applied again
    return shown


def _orientation(opened: Image.Image) -> int:
    """Return the EXIF orientation; 1, upright, if it is unknown."""
    try:
        value = opened.getexif().get(ORIENTATION)
    except DAMAGE:  # damaged metadata are ignored
        return 1
    return value if isinstance(value, int) else 1


def _heif_reader(name: str) -> Callable[[Any], Image.Image]:
    try:
        from pillow_heif.as_plugin import HeifImageFile  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise DataError(
            f"{name} is a HEIC photo, which needs pillow-heif; install it with: pip install 'mge[heif]'"
        ) from error
    return HeifImageFile


def _unreadable(error: BaseException, *, name: str) -> DataError:
    return DataError(f"{name} cannot be read: {first_line(error)}")


class _Quiet:
    """Pillow's warnings about odd files, switched off while any thread reads one.

    `warnings.catch_warnings` changes the whole process: of two threads that overlap, the second would restore the state
    that the first had set, and every warning of the process would stay off.
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
