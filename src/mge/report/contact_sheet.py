"""Many small photos in one picture, in strips with a caption each."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps

GAP, CAPTION, MARGIN = 10, 16, 44  # pixels: between strips, for their captions, for the title
LEAST_WIDTH = 640  # pixels: room for the title
DPI = 100
CHARACTER = 5.4  # pixels that a character of a caption takes, on average


class Strip(NamedTuple):
    """Photos side by side, and what is written above them."""

    caption: str
    photos: Sequence[Image.Image]


def draw_contact_sheet(strips: Sequence[Strip], file: Path, *, side: int, title: str) -> None:
    """Draws strips of photos in as many columns as make the picture about square.

    Args:
        strips: At least one; all of them get the room of the longest.
        file: PNG to write.
        side: Side of the square that each photo is fitted into, in pixels.
        title: Written above.
    """
    width = side * max(1, *(len(strip.photos) for strip in strips)) + GAP
    height = CAPTION + side + GAP
    columns = max(1, min(len(strips), round(math.sqrt(len(strips) * height / width))))
    rows = math.ceil(len(strips) / columns)
    shape = (MARGIN + rows * height, max(LEAST_WIDTH, columns * width + GAP), 3)
    canvas = np.full(shape, 255, dtype=np.uint8)
    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.text(GAP, MARGIN / 2, title, fontsize=10, va="center", parse_math=False)
    for number, strip in enumerate(strips):  # down the columns, as one reads a list
        left, top = GAP + number // rows * width, MARGIN + number % rows * height
        for place, photo in enumerate(strip.photos):
            x, y = left + place * side, top + CAPTION
            canvas[y : y + side, x : x + side] = fit(photo, side=side)
        caption = _shorten(strip.caption, num_characters=int((width - GAP) / CHARACTER))
        axes.text(left, top + CAPTION - 4, caption, fontsize=7, va="bottom", parse_math=False)
    axes.imshow(canvas, extent=(0, canvas.shape[1], canvas.shape[0], 0), aspect="auto", interpolation="none")
    with warnings.catch_warnings(action="ignore"):  # letters that the font does not have become boxes
        figure.savefig(file, dpi=DPI)


def fit(photo: Image.Image, *, side: int) -> NDArray[np.uint8]:
    """A photo in its own shape in the middle of a white square (side, side, 3), with a white edge to the next."""
    return np.asarray(ImageOps.expand(ImageOps.pad(photo, (side - 2, side - 2), color="white"), 1, "white"))


def _shorten(text: str, *, num_characters: int) -> str:
    return text if len(text) <= num_characters else f"{text[: num_characters - 1]}…"
