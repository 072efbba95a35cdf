"""A photo with the boxes of the experts, small enough to stand inside HTML."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

# Okabe and Ito's colours, distinguishable for colour-blind people.
EXPERT_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
SIDE = 280  # pixels


def html_thumbnail(photo: Image.Image, boxes_xyxy: Sequence[tuple[float, float, float, float]]) -> str:
    """Return a photo with its boxes as an HTML image that holds its own data.

    Args:
        photo: The photo, RGB.
        boxes_xyxy: One box per expert, in pixels of the photo.
    """
    small = photo.copy()
    small.thumbnail((SIDE, SIDE))
    draw = ImageDraw.Draw(small)
    scale = (small.width / photo.width, small.height / photo.height) * 2
    for number, box in enumerate(boxes_xyxy):
        x1, y1, x2, y2 = (round(edge * factor) for edge, factor in zip(box, scale, strict=True))
        left, top = max(0, x1), max(0, y1)
        right, bottom = max(left, min(small.width, x2) - 1), max(top, min(small.height, y2) - 1)
        draw.rectangle((left, top, right, bottom), outline=EXPERT_COLORS[number % len(EXPERT_COLORS)], width=3)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="photo with the boxes of the experts" src="data:image/jpeg;base64,{data}">'
