"""Costs that a photo may have: with these, a file of 20 MB takes about 2 s of a core and 700 MB at most."""

from mge.errors import DataError

MAX_FILE_BYTES = 1_000_000_000
MAX_PIXELS = 70_000_000
# Decoders of these formats hold a photo several times.
MAX_PIXELS_OF = {"WEBP": 40_000_000, "AVIF": 52_000_000, "HEIF": 52_000_000}
MAX_ASPECT = 50  # no photo is thinner, and what is thinner still is a trap for whoever resizes it
MAX_DECODING_BYTES = 640_000_000
MAX_SCANNED_VALUES = 1_200_000_000  # a JPEG of 100 kB may ask to paint all its pixels a thousand times over


def check_size(size: tuple[int, int], *, name: str, form: str = "") -> None:
    """Checks the number of pixels that a photo declares.

    Args:
        size: Width and height.
        name: What an error calls the photo.
        form: Its format, as Pillow calls it.

    Raises:
        DataError: the photo is larger or thinner than any photo.
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
    """Checks the memory that decoding would take.

    Args:
        needed: Bytes.
        allowed: Bytes.
        name: What an error calls the photo.
        what: What the photo declares.

    Raises:
        DataError: it is more than allowed.
    """
    if needed > allowed:
        raise DataError(
            f"{name} is {what}, which take {needed // 1_000_000} MB; accepted: up to {allowed // 1_000_000} MB; "
            "save it smaller"
        )


def damaged(name: str, form: str) -> DataError:
    """Returns the error for a file that does not keep to its format."""
    return DataError(f"{name} cannot be read: it is {form} that is cut short or damaged")


def too_many(name: str, what: str, allowed: int) -> DataError:
    """Returns the error for a file in more pieces than any photo."""
    return DataError(f"{name} has too many {what}; accepted: up to {allowed:,}; re-save it")
