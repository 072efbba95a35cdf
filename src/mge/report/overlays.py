"""Overlays on photos: boxes, attention, and evidence for or against a class."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from mge.notebook.thumbnail import EXPERT_COLORS
from mge.report.text import font

SPEAKS_FOR, SPEAKS_AGAINST = "#0072B2", "#D55E00"  # blue and vermilion

# Points of matplotlib's `inferno`, without its palest end: brighter means more, also in a grey print.
_INFERNO = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (247, 209, 61))
_STRONGEST = 175  # of 255: opacity of the strongest colour

NOTHING = "no positive evidence"  # on a view whose map is empty

Box = tuple[float, float, float, float]
Palette = tuple[Image.Image, tuple[int, ...]]  # one pixel with 256 colours; how opaque each one is


def expert_color(number: int) -> str:
    """Return the colour of an expert, used in all drawings."""
    return EXPERT_COLORS[number % len(EXPERT_COLORS)]


def cut_out(photo: Image.Image, box_xyxy: Box, *, side: int) -> Image.Image:
    """Crop a box from the full-resolution photo and stretch it to a square, as the expert saw it."""
    x1, y1, x2, y2 = box_xyxy
    left, top = min(max(x1, 0.0), photo.width - 1.0), min(max(y1, 0.0), photo.height - 1.0)
    right, bottom = min(max(x2, left + 1), photo.width), min(max(y2, top + 1), photo.height)
    return photo.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom), reducing_gap=2.0)


def fit_photo(photo: Image.Image, *, side: int) -> Image.Image:
    """Resize the whole photo to fit into a square of this side, enlarging smaller ones."""
    factor = side / max(photo.size)
    size = (max(1, round(factor * photo.width)), max(1, round(factor * photo.height)))
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def draw_boxes(picture: Image.Image, boxes_xyxy: Sequence[Box], *, size: tuple[int, int]) -> Image.Image:
    """Draw the box of each expert in its colour and with its number on a copy.

    Args:
        picture: A photo, at any size.
        boxes_xyxy: One box per expert, in pixels of the photo.
        size: Width and height of the photo at its original size.
    """
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    x_scale, y_scale = picture.width / size[0], picture.height / size[1]
    tag = max(15, min(picture.size) // 22)
    tags: list[tuple[int, int]] = []
    for number, (x1, y1, x2, y2) in enumerate(boxes_xyxy):
        color = expert_color(number)
        left, top = max(0, round(x_scale * x1)), max(0, round(y_scale * y1))
        right = max(left + 4, min(picture.width, round(x_scale * x2)) - 1)
        bottom = max(top + 4, min(picture.height, round(y_scale * y2)) - 1)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=5)
        draw.rectangle((left, top, right, bottom), outline=color, width=3)
        x, y = min(left, picture.width - tag - 1), min(top, picture.height - tag - 1)
        while any(abs(x - other) <= tag and abs(y - line) <= tag for other, line in tags):
            x += tag + 2  # boxes often share a corner: their numbers are drawn side by side
        tags.append((x, y))
        draw.rectangle((x, y, x + tag, y + tag), fill=color)
        middle = (x + tag / 2, y + tag / 2)
        draw.text(middle, str(number), fill=letters_on(color), font=font(tag - 4, bold=True), anchor="mm")
    return marked


def letters_on(color: str) -> str:
    """Return black or white, whichever is legible on a colour."""
    red, green, blue, *_ = ImageColor.getrgb(color)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def lay_attention(picture: Image.Image, attention: NDArray[np.float32]) -> Image.Image:
    """Overlay a picture with an attention map in [0, 1]: high values glow, and zero is transparent."""
    covered = _blend(picture, attention, _attention_palette())
    if not (attention > 0).any():
        room = (0, picture.height - 24, picture.width, picture.height)
        draw = ImageDraw.Draw(covered)
        draw.rectangle(room, fill="#1f2328")
        draw.text((picture.width / 2, picture.height - 12), NOTHING, fill="white", font=font(12), anchor="mm")
    return covered


def lay_contrast(picture: Image.Image, contrast: NDArray[np.float32]) -> Image.Image:
    """Overlay a picture with a map in [-1, 1]: blue above 0, vermilion below, transparent at 0."""
    return _blend(picture, np.float32(0.5) * (contrast + 1), _contrast_palette())


def _blend(picture: Image.Image, values: NDArray[np.float32], palette: Palette) -> Image.Image:
    """Overlay a picture with the palette's colours for values in [0, 1], using Pillow only (about 1 ms)."""
    levels = Image.fromarray((255 * values.clip(0, 1)).round().astype(np.uint8))
    levels = levels.resize(picture.size, Image.Resampling.BILINEAR)
    holder, opacities = palette
    colors = levels.copy()
    colors.putpalette(holder.getpalette() or [])
    return Image.composite(colors.convert("RGB"), picture, levels.point(opacities))


@cache
def _attention_palette() -> Palette:
    steps = np.linspace(0, 1, 256)
    points = np.linspace(0, 1, len(_INFERNO))
    colors = np.stack([np.interp(steps, points, channel) for channel in zip(*_INFERNO, strict=True)], axis=1)
    return _palette(colors, _STRONGEST * steps**0.9)


@cache
def _contrast_palette() -> Palette:
    steps = np.linspace(-1, 1, 256)
    colors = np.where((steps > 0)[:, None], ImageColor.getrgb(SPEAKS_FOR), ImageColor.getrgb(SPEAKS_AGAINST))
    return _palette(colors, 1.1 * _STRONGEST * np.abs(steps) ** 0.8)


def _palette(colors: NDArray[np.float64], opacities: NDArray[np.float64]) -> Palette:
    holder = Image.new("P", (1, 1))
    holder.putpalette(colors.round().astype(np.uint8).tobytes())
    return holder, tuple(opacities.round().astype(int).tolist())
