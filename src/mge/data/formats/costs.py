"""Limits of photos: with these, a file of 20 MB takes about 2 s of a core and 700 MB at most."""

from mge.errors import DataError

MAX_FILE_BYTES = 1_000_000_000
MAX_PIXELS = 70_000_000
# Decoders of these formats keep several copies of a photo.
MAX_PIXELS_OF = {"WEBP": 40_000_000, "AVIF": 52_000_000, "HEIF": 52_000_000}
LARGE_PIXELS = 20_000_000  # of photos that a server decodes one at a time: up to ten bytes each
MAX_ASPECT = 50  # no photo is thinner, and thinner images exhaust memory when resized
MAX_DECODING_BYTES = 640_000_000
MAX_SCANNED_VALUES = 1_200_000_000  # a JPEG of 100 kB may contain a thousand scans of all its pixels


def check_size(size: tuple[int, int], *, name: str, form: str = "") -> None:
    """Check the number of pixels that a photo declares.

    Args:
        size: Width and height.
        name: Name of the photo in errors.
        form: Its format, by Pillow's name.

    Raises:
        DataError: the photo exceeds the limits of size or aspect ratio.
    """
    width, height = size
    allowed = MAX_PIXELS_OF.get(form, MAX_PIXELS)
    if width * height > allowed:
        of = f" of {form}" if form in MAX_PIXELS_OF else ""
        raise DataError(f"{name} has {width} x {height} pixels; accepted: up to {allowed // 1_000_000} million{of}")
    if not min(size):
        raise DataError(f"{name} is {width} x {height} pixels, which is empty; accepted: at least 1 x 1")
    if max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{name} is {width} x {height} pixels; accepted: an aspect ratio of at most {MAX_ASPECT}:1")


def check_bytes(needed: int, *, allowed: int, name: str, what: str) -> None:
    """Check the memory that decoding would take.

    Args:
        needed: Bytes.
        allowed: Bytes.
        name: Name of the photo in errors.
        what: Description of the photo's declared format.

    Raises:
        DataError: it is more than allowed.
    """
    if needed > allowed:
        raise DataError(
            f"{name} is {what}, which take {needed // 1_000_000} MB; accepted: up to {allowed // 1_000_000} MB; "
            "save it smaller"
        )


def damaged(name: str, form: str) -> DataError:
    """Return the error for a file that violates its format."""
    return DataError(f"{name} cannot be read: it is {form} that is cut short or damaged")


def too_many(name: str, what: str, allowed: int) -> DataError:
    """Return the error for a file in too many pieces."""
    return DataError(f"{name} has too many {what}; accepted: up to {allowed:,}; re-save it")
