"""The explanation of one photo in one picture: views, attention, predictions and gate weights of the experts.

prediction, file
photo with      view 0   view 1   view 2        input of each expert
all boxes       view 0   view 1   view 2        with its attention
mixture's       predictions of expert 0, 1, 2 and their gate weights
top three
if a class is contrasted with another, one row each:
evidence for the one, for the other, and their difference
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mge.report.figures import GAP, PHOTO_SIDE, VIEW_SIDE, Contrast, ExpertView, Explanation, Ranking, draw_photo, frame
from mge.report.overlays import SPEAKS_AGAINST, SPEAKS_FOR, expert_color, lay_attention, lay_contrast
from mge.report.text import FAINT, INK, percent, write, write_lines

PAD, HEADER, LINE, BAR = 20, 78, 34, 6  # pixels: around everything, for the answer, for a class with its bar, of a bar
TRACK = "#e7eaee"  # background of a bar
LEFT = PAD + PHOTO_SIDE + 2 * GAP  # start of the experts' columns
CONTRASTS = 3  # rows: for the one, for the other, their difference
NUM_RANKED = 3
SCORES = (
    "Regions of each view that raise the logit of this class. Below: the logit, which also includes negative "
    "contributions and the bias."
)
DIFFERENCES = (
    "The map sums to the difference of the two logits, without the biases. All views share one color scale, and so do "
    "the maps above."
)


class Drawn(NamedTuple):
    """The separate pictures of an explanation."""

    photo: Image.Image  # with all boxes
    attention: list[Image.Image]  # a view under its map, one an expert
    contrasts: list[list[Image.Image]]  # one row of views for each of `CONTRASTS`; empty without a contrast


def draw_parts(explanation: Explanation) -> Drawn:
    """Draw the pictures used by the card and the gallery."""
    views = explanation.views
    attention = [lay_attention(view.picture, view.attention) for view in views]
    contrasts = _draw_contrast_rows(views) if all(view.contrast for view in views) else []
    for row in (attention, *contrasts):
        for number, picture in enumerate(row):
            frame(picture, number=number)
    return Drawn(draw_photo(explanation), attention, contrasts)


def _draw_contrast_rows(views: Sequence[ExpertView]) -> list[list[Image.Image]]:
    """Draw the evidence for the one class, for the other, and their difference; each row, one view per expert."""
    given = [view.contrast for view in views if view.contrast is not None]
    strongest = _strongest(*(each for contrast in given for each in (contrast.evidence, contrast.other_evidence)))
    differences = [contrast.evidence - contrast.other_evidence for contrast in given]
    widest = _strongest(*(np.abs(difference) for difference in differences))
    pairs = list(zip(views, given, strict=True))
    return [
        [lay_attention(view.picture, contrast.evidence / strongest) for view, contrast in pairs],
        [lay_attention(view.picture, contrast.other_evidence / strongest) for view, contrast in pairs],
        [lay_contrast(view.picture, row / widest) for view, row in zip(views, differences, strict=True)],
    ]


def draw_card(explanation: Explanation, parts: Drawn) -> Image.Image:
    """Draw the whole picture.

    Args:
        explanation: The texts.
        parts: The pictures.
    """
    columns = len(explanation.views)
    said = PAD + HEADER + PHOTO_SIDE + GAP  # below the pictures
    height = said + 30 + NUM_RANKED * LINE + (GAP + len(parts.contrasts) * (VIEW_SIDE + GAP + 22)) + PAD
    card = Image.new("RGB", (LEFT + columns * (VIEW_SIDE + GAP) - GAP + PAD, height), "white")
    draw = ImageDraw.Draw(card)
    _write_header(draw, explanation, width=card.width - 2 * PAD)
    x, y = PAD + (PHOTO_SIDE - parts.photo.width) // 2, PAD + HEADER + (PHOTO_SIDE - parts.photo.height) // 2
    card.paste(parts.photo, (x, y))
    write(draw, (PAD, said), "mixture", size=14, color=FAINT)
    _write_ranking(draw, explanation.top, at=(PAD, said + 26), width=PHOTO_SIDE, color=INK)
    for number, (view, attention) in enumerate(zip(explanation.views, parts.attention, strict=True)):
        left, top = LEFT + number * (VIEW_SIDE + GAP), PAD + HEADER
        card.paste(view.picture, (left, top))
        card.paste(attention, (left, top + VIEW_SIDE + GAP))
        _write_gate(draw, view.gate_prob, number=number, at=(left, said))
        _write_ranking(draw, view.top, at=(left, said + 26), width=VIEW_SIDE, color=expert_color(number))
    _draw_contrasts(card, draw, explanation, parts, top=said + 30 + NUM_RANKED * LINE + 2 * GAP)
    return card


def _strongest(*maps: NDArray[np.float32]) -> float:
    """Return the largest value of all maps, as their common scale."""
    return max([float(each.max()) for each in maps] + [1e-9])


def _write_header(draw: ImageDraw.ImageDraw, explanation: Explanation, *, width: int) -> None:
    chance = percent(explanation.probability)
    write(draw, (PAD, PAD - 4), f"{explanation.label}  {chance}", size=27, bold=True, width=width)
    facts = [explanation.path, f"{explanation.size[0]} x {explanation.size[1]} px"]
    if explanation.true_label is not None:
        facts.append(f"true: {explanation.true_label}")
    write(draw, (PAD, PAD + 36), "   ·   ".join(fact for fact in facts if fact), size=14, color=FAINT, width=width)


def _write_gate(draw: ImageDraw.ImageDraw, share: float, *, number: int, at: tuple[int, int]) -> None:
    x, y = at
    draw.rectangle((x, y + 2, x + 12, y + 14), fill=expert_color(number))
    write(draw, (x + 19, y), f"expert {number}", size=14, color=FAINT)
    write(draw, (x + VIEW_SIDE, y), f"gate {percent(share)}", size=14, anchor="ra", color=FAINT)


def _write_ranking(draw: ImageDraw.ImageDraw, top: Ranking, *, at: tuple[int, int], width: int, color: str) -> None:
    x, y = at
    for place, (label, share) in enumerate(top[:NUM_RANKED]):
        line = y + place * LINE
        write(draw, (x, line), label, size=14, bold=place == 0, width=width - 50)
        write(draw, (x + width, line), percent(share), size=14, bold=place == 0, anchor="ra")
        draw.rectangle((x, line + 19, x + width - 1, line + 19 + BAR - 1), fill=TRACK)
        draw.rectangle((x, line + 19, x + max(1, round(share * width)) - 1, line + 19 + BAR - 1), fill=color)


def _draw_contrasts(
    card: Image.Image, draw: ImageDraw.ImageDraw, explanation: Explanation, parts: Drawn, *, top: int
) -> None:
    for row, rendered in enumerate(parts.contrasts):
        y = top + row * (VIEW_SIDE + GAP + 22)
        _write_contrast(draw, explanation, row=row, y=y)
        for number, (view, picture) in enumerate(zip(explanation.views, rendered, strict=True)):
            x = LEFT + number * (VIEW_SIDE + GAP)
            card.paste(picture, (x, y))
            assert view.contrast is not None
            write(draw, (x, y + VIEW_SIDE + 5), score(view.contrast, row=row), size=13, color=FAINT)


def _write_contrast(draw: ImageDraw.ImageDraw, explanation: Explanation, *, row: int, y: int) -> None:
    """Write the description of a row of contrasts."""
    one, other = explanation.label, str(explanation.other_label)
    if row < CONTRASTS - 1:
        write(draw, (PAD, y), "evidence for", size=14, color=FAINT)
        write(draw, (PAD, y + 22), (one, other)[row], size=20, bold=True, width=PHOTO_SIDE)
        if row == 0:
            write_lines(draw, (PAD, y + 58), SCORES, size=13, width=PHOTO_SIDE - 60, color=FAINT)
        return
    write(draw, (PAD, y), "difference; blue: evidence for", size=14, color=FAINT)
    write(draw, (PAD, y + 22), one, size=20, bold=True, width=PHOTO_SIDE, color=SPEAKS_FOR)
    write(draw, (PAD, y + 60), "vermilion: evidence for", size=14, color=FAINT)
    write(draw, (PAD, y + 82), other, size=20, bold=True, width=PHOTO_SIDE, color=SPEAKS_AGAINST)
    write_lines(draw, (PAD, y + 120), DIFFERENCES, size=13, width=PHOTO_SIDE - 60, color=FAINT)


def score(contrast: Contrast, *, row: int) -> str:
    """Return the number below a view of a row of contrasts."""
    figures = (contrast.logit, contrast.other_logit, contrast.logit - contrast.other_logit)
    name = "difference" if row == CONTRASTS - 1 else "logit"
    return f"{name} {figures[row]:+.2f}"
