"""Words in pictures."""

from functools import cache
from pathlib import Path

import matplotlib as mpl
from PIL import ImageDraw, ImageFont

from mge.data.photo import as_text

INK, FAINT = "#1f2328", "#59636e"  # for what is read first, and for the rest; both legible on white

Font = ImageFont.FreeTypeFont


@cache
def font(size: int, *, bold: bool = False) -> Font:
    """DejaVu Sans, which matplotlib brings along: it has the letters of most languages that are written with some.

    Args:
        size: Height of a line in pixels, about.
        bold: Whether it is bold.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size)


def fit_text(text: str, *, width: float, letters: Font) -> str:
    """A text that is no wider than so many pixels: its beginning and its end, where it would be."""
    if letters.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if letters.getlength(shorter) <= width:
            return shorter
    return "…"


def percent(share: float) -> str:
    """A share of 1 as a person reads it: whole percents, and tenths where it is less than one."""
    return f"{100 * share:.{1 if 0 < share < 0.0095 else 0}f} %"


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, size: int, bold: bool = False, color: str = INK,
    width: float | None = None, anchor: str = "la",
) -> None:  # fmt: skip
    """Writes a line.

    Args:
        draw: What it is written on.
        at: Where, in pixels.
        text: The line; what does not fit is left out in its middle.
        size: Of the letters, in pixels.
        bold: Whether they are bold.
        color: Of the letters.
        width: Pixels that it may take; None: as many as it needs.
        anchor: Which point of the line lies at that place, as Pillow names it: `la` is its top left, `ra` its top
            right.
    """
    letters = font(size, bold=bold)
    line = as_text(text)  # a file's name may be none
    if width is not None:
        line = fit_text(line, width=width, letters=letters)
    draw.text(at, line, fill=color, font=letters, anchor=anchor)


def write_lines(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, size: int, width: float, color: str = INK
) -> None:
    """Writes a text in as many lines as it takes, broken between words."""
    for number, line in enumerate(_wrapped(text, size=size, width=width)):
        write(draw, (at[0], at[1] + number * round(1.45 * size)), line, size=size, color=color)


@cache
def _wrapped(text: str, *, size: int, width: float) -> tuple[str, ...]:
    lines, letters = [""], font(size)
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return tuple(lines)
