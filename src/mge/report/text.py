"""Text in pictures."""

from functools import cache
from pathlib import Path

import matplotlib as mpl
from PIL import ImageDraw, ImageFont

from mge.data.photo import as_text

INK, FAINT = "#1f2328", "#59636e"  # for primary and for secondary text; both legible on white

Font = ImageFont.FreeTypeFont


@cache
def font(size: int, *, bold: bool = False) -> Font:
    """Load DejaVu Sans, which comes with matplotlib and covers most alphabets.

    Args:
        size: Height of a line in pixels, approximately.
        bold: Whether it is bold.
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size)


def fit_text(text: str, *, width: float, letters: Font) -> str:
    """Shorten a text to a width in pixels, by an ellipsis in its middle."""
    if letters.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if letters.getlength(shorter) <= width:
            return shorter
    return "…"


def percent(share: float) -> str:
    """Format a fraction as a percentage: integers, with one decimal below 1 %."""
    return f"{100 * share:.{1 if 0 < share < 0.0095 else 0}f} %"


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, size: int, bold: bool = False, color: str = INK,
    width: float | None = None, anchor: str = "la",
) -> None:  # fmt: skip
    """Write a line of text.

    Args:
        draw: Drawing to write on.
        at: Position in pixels.
        text: The line; if it does not fit, its middle is left out.
        size: Size of the letters in pixels.
        bold: Whether they are bold.
        color: Color of the letters.
        width: Available pixels; None: unlimited.
        anchor: Point of the line at the position, by Pillow's name: `la` is its top left, `ra` its top right.
    """
    letters = font(size, bold=bold)
    line = as_text(text)  # file names may be invalid text
    if width is not None:
        line = fit_text(line, width=width, letters=letters)
    draw.text(at, line, fill=color, font=letters, anchor=anchor)


def write_lines(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, size: int, width: float, color: str = INK
) -> None:
    """Write a text in as many lines as needed, broken between words."""
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
