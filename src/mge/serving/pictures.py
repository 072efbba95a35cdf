"""Pictures for `/explain`: the photo, and each expert's view and attention."""

import base64
import io
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Box = tuple[float, float, float, float]

MAX_SHOWN_PX = 1600  # of the returned photo, from which the views are cropped
VIEW_PX = 256
JPEG_QUALITY = 85


def shrink_to_show(photo: Image.Image) -> Image.Image:
    """Shrink the photo to at most the size of a screen."""
    scale = MAX_SHOWN_PX / max(photo.size)
    if scale >= 1:
        return photo
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def cut_view(shown: Image.Image, box_xyxy: Box, *, photo_size: tuple[int, int]) -> Image.Image:
    """Crop the view of an expert, as a square.

    Args:
        shown: The photo, possibly reduced.
        box_xyxy: Region seen by the expert, in pixels of the original photo.
        photo_size: The photo's width and height.
    """
    scale_x, scale_y = (shown / whole for shown, whole in zip(shown.size, photo_size, strict=True))
    x1, x2 = _inside(box_xyxy[0] * scale_x, box_xyxy[2] * scale_x, shown.width)
    y1, y2 = _inside(box_xyxy[1] * scale_y, box_xyxy[3] * scale_y, shown.height)
    return shown.resize((VIEW_PX, VIEW_PX), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))


def _inside(start: float, end: float, length: int) -> tuple[float, float]:
    """Clip an interval to the picture, keeping at least one pixel."""
    start = min(max(start, 0.0), length - 1.0)
    return start, min(max(end, start + 1), length)


def draw_attention(attention: npt.NDArray[np.float32]) -> Image.Image:
    """Convert a map (h, w) from 0 to 1 to a grey picture, one pixel per cell."""
    return Image.fromarray(np.rint(np.nan_to_num(attention) * 255).clip(0, 255).astype(np.uint8))


def as_data_url(picture: Image.Image, *, form: Literal["jpeg", "png"]) -> str:
    """Encode a picture as a data URL."""
    file = io.BytesIO()
    picture.save(file, form, **({"quality": JPEG_QUALITY} if form == "jpeg" else {}))
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"
