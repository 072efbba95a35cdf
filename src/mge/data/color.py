"""Every way in which a photo stores colours, as RGB with eight bits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

Values = npt.NDArray[Any]  # whole numbers or fractions, as the photo has them

# TIFF's numbers for how many bits a value has, what it means, and how it is written (1: without a sign).
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
# Where white lies in greys whose file does not say it: fractions, 8, 16 and 32 bits.
USUAL_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)
STRIP = 256  # rows


def to_rgb(photo: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparency on white, deep grey scaled to eight bits.

    16 bits a colour are cut to the upper eight by Pillow as it reads them. Colour profiles are not applied.

    Args:
        photo: As `PIL.Image.open` gives it.
    """
    if photo.mode.startswith("I") or photo.mode == "F":
        return _from_deep_gray(photo)
    if not isinstance(photo.info.get("transparency", 0), int | bytes | tuple):  # a note of that name in a PNG
        photo = photo.copy()
        del photo.info["transparency"]
    if photo.has_transparency_data:
        return _on_white(photo)
    return photo if photo.mode == "RGB" else photo.convert("RGB")


def _on_white(photo: Image.Image) -> Image.Image:
    shown = Image.new("RGB", photo.size, "white")
    for rows in _rows(photo):
        layer = photo.crop((0, rows.start, photo.width, rows.stop))
        if layer.mode == "La":  # premultiplied: Pillow knows this one step only
            layer = layer.convert("LA")
        layer = layer.convert("RGBA")
        shown.paste(layer, (0, rows.start), mask=layer)
    return shown


def _from_deep_gray(photo: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey, which Pillow's own conversion would cut off."""
    tags = photo.tag_v2 if isinstance(photo, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(BITS, (16,))[0]
    is_unsigned = bits == 32 and tags.get(SAMPLE_FORMAT, (1,)) == (1,)
    transparent = photo.info.get("transparency")
    white = float(2**bits - 1) if photo.mode.startswith("I") and bits < 32 else _usual_white(photo, is_unsigned)
    shown = np.empty((photo.height, photo.width), np.uint8)
    for rows, values in _strips(photo, is_unsigned):
        gray = np.nan_to_num(values.astype(np.float32), copy=False, posinf=white, neginf=0)
        gray *= 255 / white
        if tags.get(PHOTOMETRIC) == 0:  # white is zero; Pillow turns eight bits round, but not these
            gray = 255 - gray
        shown[rows] = np.rint(gray).clip(0, 255)
        if isinstance(transparent, int):
            shown[rows][values == transparent] = 255
    return Image.fromarray(shown).convert("RGB")


def _strips(photo: Image.Image, is_unsigned: bool) -> Iterator[tuple[slice, Values]]:
    for rows in _rows(photo):
        values = np.asarray(photo.crop((0, rows.start, photo.width, rows.stop)))
        yield rows, values.view(np.uint32) if is_unsigned else values  # Pillow has signed 32 bits only


def _rows(photo: Image.Image) -> Iterator[slice]:
    """A few rows at a time: the values of a whole photo, several times over, would fill the memory."""
    return (slice(top, min(top + STRIP, photo.height)) for top in range(0, photo.height, STRIP))


def _usual_white(photo: Image.Image, is_unsigned: bool) -> float:
    """Where white lies in a photo that does not declare it: the usual value next to its highest.

    A usual value may be exceeded twofold: sharpening, for one, leaves fractions a little above 1.
    """
    highest = max(float(values.max(initial=0, where=np.isfinite(values))) for _, values in _strips(photo, is_unsigned))
    return next((white for white in USUAL_WHITES if highest <= 2 * white), highest)
