"""What `/explain` shows: the photo, what each expert saw of it, and where it looked."""

import base64
import io
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Box = tuple[float, float, float, float]

MAX_SHOWN_PX = 1600  # of the photo that is shown and that views are cut out of
VIEW_PX = 256
JPEG_QUALITY = 85


def shrink_to_show(photo: Image.Image) -> Image.Image:
    """The photo, no larger than a screen."""
    scale = MAX_SHOWN_PX / max(photo.size)
    if scale >= 1:
        return photo
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def cut_view(shown: Image.Image, box_xyxy: Box, *, photo_size: tuple[int, int]) -> Image.Image:
    """What an expert saw, as a square.

    Args:
        shown: The photo, perhaps smaller than it was.
        box_xyxy: What the expert saw, in pixels of the photo itself.
        photo_size: The photo's width and height.
    """
    scale_x, scale_y = (shown / whole for shown, whole in zip(shown.size, photo_size, strict=True))
    x1, x2 = _inside(box_xyxy[0] * scale_x, box_xyxy[2] * scale_x, shown.width)
    y1, y2 = _inside(box_xyxy[1] * scale_y, box_xyxy[3] * scale_y, shown.height)
    return shown.resize((VIEW_PX, VIEW_PX), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))


def _inside(start: float, end: float, length: int) -> tuple[float, float]:
    """A stretch of at least a pixel that does not leave the picture."""
    start = min(max(start, 0.0), length - 1.0)
    return start, min(max(end, start + 1), length)


def draw_attention(attention: npt.NDArray[np.float32]) -> Image.Image:
    """A map (h, w) from 0 to 1 as a grey picture, one pixel a cell."""
    return Image.fromarray(np.rint(np.nan_to_num(attention) * 255).clip(0, 255).astype(np.uint8))


def as_data_url(picture: Image.Image, *, form: Literal["jpeg", "png"]) -> str:
    """A picture as text that a page can show."""
    file = io.BytesIO()
    picture.save(file, form, **({"quality": JPEG_QUALITY} if form == "jpeg" else {}))
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"
