"""Opening a photo: one guarded function, so that no file can crash, hang or silently mislead a run."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mge.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")
MAX_PIXELS = 50_000_000
MAX_ASPECT = 50  # a 20,000 x 1 photo would be resized to gigabytes


def open_photo(photo: str | Path | bytes, *, at_least_px: int | None = None) -> Image.Image:
    """A photo as it is shown: upright, RGB, transparency on white, the first frame of several.

    Args:
        photo: A file, or the content of one.
        at_least_px: Sides down to which a JPEG may be decoded smaller, which is quicker: for a look, never for a
            network. All of the file is read all the same, so that what is broken is found.

    Raises:
        DataError: it cannot be read whole, or is larger or thinner than any photo.
    """
    name = "the uploaded photo" if isinstance(photo, bytes) else str(photo)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(photo) if isinstance(photo, bytes) else photo, formats=FORMATS)
            with opened:
                _check_size(opened.size, name=name)
                if at_least_px is not None:
                    opened.draft("RGB", (at_least_px, at_least_px))
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                return _to_rgb(upright)
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not a photo that can be read; accepted: {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{name} cannot be read: {reason}") from error


def _check_size(size: tuple[int, int], *, name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name} has {width} x {height} pixels; accepted: up to {MAX_PIXELS // 1_000_000} million")
    if max(size) > MAX_ASPECT * min(size):
        raise DataError(f"{name} is {width} x {height} pixels; accepted: sides of at most {MAX_ASPECT} to 1")


def _to_rgb(photo: Image.Image) -> Image.Image:
    if photo.mode.startswith("I") or photo.mode == "F":
        return _from_deep_grey(photo)
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        layer = photo.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return photo.convert("RGB")


def _from_deep_grey(photo: Image.Image) -> Image.Image:
    """16-bit and floating-point grey, which Pillow's own conversion would cut off."""
    values = np.asarray(photo, dtype=np.float64)
    if photo.mode == "F":
        highest = 1.0 if np.nanmax(values) <= 1 else 255.0 if np.nanmax(values) <= 255 else 65535.0
    else:
        highest = 65535.0
    scaled = np.nan_to_num(values / highest).clip(0, 1) * 255
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
