"""Photos in the report: what the mixture was given, with the experts' boxes, and what each expert saw."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from mge.data.photo import as_text
from mge.report.overlays import Box, cut_out, draw_boxes, expert_color, fit_photo

PHOTO_SIDE, VIEW_SIDE = 280, 112  # longest sides in pixels, in the page
QUALITY = 80  # of JPEG


class ShownView(NamedTuple):
    """What one expert saw."""

    picture: str  # a data URI
    label: str
    is_right: bool
    gate_percent: float
    color: str


class Shown(NamedTuple):
    """A photo with what is said about it."""

    path: str
    label: str
    answer: str
    percent: float  # of the answer
    label_percent: float  # of the label
    picture: str  # a data URI
    views: tuple[ShownView, ...]
    is_doubtful: bool  # whether the label looks wrong

    @property
    def is_right(self) -> bool:
        """Whether the answer is the label."""
        return self.label == self.answer


def show(
    picture: Image.Image, boxes_xyxy: Sequence[Box], *, path: str, label: str, answer: str, percent: float,
    label_percent: float, expert_labels: Sequence[str], gate_probs: Sequence[float], is_doubtful: bool,
) -> Shown:  # fmt: skip
    """A photo for the page.

    Args:
        picture: What the mixture was given.
        boxes_xyxy: What each expert saw, in pixels of the picture.
        path: Where the photo lies.
        label: What it is said to be.
        answer: What the mixture says.
        percent: Probability of the answer.
        label_percent: Probability of the label.
        expert_labels: What each expert says.
        gate_probs: How much each expert counts.
        is_doubtful: Whether the label looks wrong.
    """
    views = tuple(
        ShownView(as_uri(cut_out(picture, box, side=VIEW_SIDE)), said, said == label, 100 * share, expert_color(number))
        for number, (box, said, share) in enumerate(zip(boxes_xyxy, expert_labels, gate_probs, strict=True))
    )
    marked = draw_boxes(fit_photo(picture, side=PHOTO_SIDE), boxes_xyxy, size=picture.size)
    return Shown(as_text(path), label, answer, percent, label_percent, as_uri(marked), views, is_doubtful)


def as_uri(picture: Image.Image) -> str:
    """A picture as text that a page holds: a data URI."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
