"""Contact sheets: many small photos in one picture, in strips with captions."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

from mge.report.picture_file import save_picture
from mge.report.text import write

GAP, CAPTION, MARGIN = 10, 16, 44  # pixels: between strips, for a line of their captions, for the title
LEAST_WIDTH = 640  # pixels: room for the title


class Strip(NamedTuple):
    """Photos side by side, with a caption of one or several lines above them."""

    caption: str
    photos: Sequence[Image.Image]


def draw_contact_sheet(strips: Sequence[Strip], file: Path, *, side: int, title: str) -> None:
    """Draw strips of photos in as many columns as make the picture about square.

    Args:
        strips: At least one; all of them get the size of the longest, and of the caption with most lines.
        file: PNG to write.
        side: Side of the square that each photo is fitted into, in pixels.
        title: Title above.

    Raises:
        StorageError: it cannot be written.
    """
    captions = [strip.caption.split("\n") for strip in strips]
    above = CAPTION * max(len(lines) for lines in captions)
    width = side * max(1, *(len(strip.photos) for strip in strips)) + GAP
    height = above + side + GAP
    columns = max(1, min(len(strips), round(math.sqrt(len(strips) * height / width))))
    rows = math.ceil(len(strips) / columns)
    sheet = Image.new("RGB", (max(LEAST_WIDTH, columns * width + GAP), MARGIN + rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, (GAP, MARGIN / 2), title, size=14, width=sheet.width - 2 * GAP, anchor="lm")
    for number, (strip, lines) in enumerate(zip(strips, captions, strict=True)):
        # Column by column, like a list.
        left, top = GAP + number // rows * width, MARGIN + number % rows * height
        for place, photo in enumerate(strip.photos):
            sheet.paste(fit(photo, side=side), (left + place * side, top + above))
        for row, line in enumerate(lines):
            write(draw, (left, top + row * CAPTION + 2), line, size=11, width=width - GAP)
    save_picture(sheet, file)


def fit(photo: Image.Image, *, side: int) -> Image.Image:
    """Fit a photo into a white square without distortion, with a white border."""
    return ImageOps.expand(ImageOps.pad(photo, (side - 2, side - 2), color="white"), 1, "white")
