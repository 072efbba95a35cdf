"""What the experts saw of some photos, one row a photo."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mge.report.overlays import Box, cut_out, draw_boxes, expert_color, fit_photo, lay_attention
from mge.report.picture_file import save_picture
from mge.report.text import FAINT, font, percent, write

PHOTO_SIDE, VIEW_SIDE = 464, 226  # pixels: of the photo, and of what is cut out of it; two views are as high as it is
GAP, CAPTION, TITLE = 12, 40, 44

Ranking = tuple[tuple[str, float], ...]  # class names with their probabilities, likeliest first


class Contrast(NamedTuple):
    """What speaks for one class and for another, cell by cell, in an expert's large-part head."""

    evidence: NDArray[np.float32]  # (h, w) for the class that was predicted
    other_evidence: NDArray[np.float32]  # (h, w) for the other one
    logit: float
    other_logit: float


class ExpertView(NamedTuple):
    """What one expert saw of a photo, and what it made of it."""

    picture: Image.Image  # its view, cut out of the photo
    attention: NDArray[np.float32]  # (h, w) in [0, 1], over its view
    box_xyxy: Box  # the view, in the photo's own pixels
    top: Ranking
    gate_prob: float
    contrast: Contrast | None = None


class Explanation(NamedTuple):
    """One photo with every expert's view of it."""

    picture: Image.Image  # the photo, fitted into PHOTO_SIDE
    size: tuple[int, int]  # width and height of the photo itself
    views: Sequence[ExpertView]
    top: Ranking  # the mixture's
    true_label: str | None = None
    other_label: str | None = None  # what the answer is contrasted with
    path: str = ""

    @property
    def label(self) -> str:
        """The mixture's answer."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """The probability that the mixture gives it."""
        return self.top[0][1]


def fit_and_cut(photo: Image.Image, boxes_xyxy: Sequence[Box]) -> tuple[Image.Image, list[Image.Image]]:
    """A photo fitted into what is drawn of it, and the views cut out of its own pixels."""
    return fit_photo(photo, side=PHOTO_SIDE), [cut_out(photo, box, side=VIEW_SIDE) for box in boxes_xyxy]


def draw_photo(explanation: Explanation) -> Image.Image:
    """The photo with the boxes of all experts."""
    return draw_boxes(explanation.picture, [view.box_xyxy for view in explanation.views], size=explanation.size)


def draw_experts(explanations: Sequence[Explanation], file: Path, *, title: str = "") -> None:
    """One row a photo: the photo with all boxes, then each expert's view with its attention over it.

    Args:
        explanations: What to draw.
        file: PNG to write.
        title: Written above.

    Raises:
        StorageError: it cannot be written.
    """
    columns = 1 + max(len(explanation.views) for explanation in explanations)
    top = TITLE if title else GAP
    row_height = CAPTION + VIEW_SIDE + GAP
    sheet = Image.new("RGB", (GAP + columns * (VIEW_SIDE + GAP), top + len(explanations) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, (GAP, TITLE / 2), title, size=17, bold=True, anchor="lm", width=sheet.width - 2 * GAP)
    for row, explanation in enumerate(explanations):
        y = top + row * row_height
        _draw_photo_cell(sheet, draw, explanation, x=GAP, y=y)
        for number, view in enumerate(explanation.views):
            _draw_view_cell(sheet, draw, view, number=number, x=GAP + (number + 1) * (VIEW_SIDE + GAP), y=y)
    save_picture(sheet, file)


def _draw_photo_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, explanation: Explanation, *, x: int, y: int
) -> None:
    is_wrong = explanation.true_label not in (None, explanation.label)
    mark = "" if explanation.true_label is None else " ✗" if is_wrong else " ✓"
    truth = f"truly {explanation.true_label}" if is_wrong else ""
    _write_caption(draw, explanation.top[0], truth, mark=mark, x=x, y=y)
    fitted = fit_photo(explanation.picture, side=VIEW_SIDE)
    marked = draw_boxes(fitted, [view.box_xyxy for view in explanation.views], size=explanation.size)
    sheet.paste(marked, (x + (VIEW_SIDE - marked.width) // 2, y + CAPTION + (VIEW_SIDE - marked.height) // 2))


def _draw_view_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, view: ExpertView, *, number: int, x: int, y: int
) -> None:
    _write_caption(draw, view.top[0], f"expert {number}, gate {percent(view.gate_prob)}", x=x, y=y)
    sheet.paste(frame(lay_attention(view.picture, view.attention), number=number), (x, y + CAPTION))


def frame(view: Image.Image, *, number: int) -> Image.Image:
    """Draws an edge in its expert's colour on a view, and returns it."""
    edge = (0, 0, view.width - 1, view.height - 1)
    ImageDraw.Draw(view).rectangle(edge, outline=expert_color(number), width=3)
    return view


def _write_caption(
    draw: ImageDraw.ImageDraw, best: tuple[str, float], below: str, *, x: int, y: int, mark: str = ""
) -> None:
    chance = f" {percent(best[1])}{mark}"
    room = VIEW_SIDE - font(13, bold=True).getlength(chance)
    write(draw, (x, y + 2), best[0], size=13, bold=True, width=room)
    write(draw, (x + VIEW_SIDE, y + 2), chance, size=13, bold=True, anchor="ra")
    write(draw, (x, y + 20), below, size=12, width=VIEW_SIDE, color=FAINT)
