"""Every way in which a photo stores colours, as RGB with eight bits."""

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

# TIFF's numbers for how many bits a value has, what it means, and how it is written (1: without a sign).
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
# Where white lies in greys whose file does not say it: fractions, 8, 16 and 32 bits.
USUAL_WHITES = (1.0, 255.0, 65535.0, 4294967295.0)


def to_rgb(photo: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparency on white, deep grey scaled to eight bits.

    16 bits a colour are cut to the upper eight by Pillow as it reads them. Colour profiles are not applied.

    Args:
        photo: As `PIL.Image.open` gives it.
    """
    if photo.mode.startswith("I") or photo.mode == "F":
        return _from_deep_grey(photo)
    if photo.mode == "La":  # premultiplied: Pillow knows this one step only
        photo = photo.convert("LA")
    if photo.has_transparency_data:
        layer = photo.convert("RGBA")
        shown = Image.new("RGB", layer.size, "white")
        shown.paste(layer, mask=layer)
        return shown
    return photo if photo.mode == "RGB" else photo.convert("RGB")


def _from_deep_grey(photo: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey, which Pillow's own conversion would cut off."""
    tags = photo.tag_v2 if isinstance(photo, TiffImagePlugin.TiffImageFile) else {}
    values = np.asarray(photo)
    if tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)  # Pillow has 32 bits with a sign only
    white = _white(photo.mode, values, bits=tags.get(BITS, (16,))[0])
    grey = values.astype(np.float32)
    np.nan_to_num(grey, copy=False, posinf=white, neginf=0)
    grey *= 255 / white
    if tags.get(PHOTOMETRIC) == 0:  # white is zero; Pillow turns eight bits round, but not these
        np.subtract(255, grey, out=grey)
    shown = np.rint(grey.clip(0, 255, out=grey), out=grey).astype(np.uint8)
    transparent = photo.info.get("transparency")
    if isinstance(transparent, int):
        shown[values == transparent] = 255
    return Image.fromarray(shown).convert("RGB")


def _white(mode: str, values: npt.NDArray[np.number], *, bits: int) -> float:
    """The value that is white: what the file declares or, where it declares nothing, the usual one near the highest.

    A usual value may be exceeded twofold: sharpening, for one, leaves fractions a little above 1.
    """
    if mode.startswith("I") and bits < 32:
        return float(2**bits - 1)
    highest = float(values.max(initial=0, where=np.isfinite(values)))
    return next((white for white in USUAL_WHITES if highest <= 2 * white), highest)
