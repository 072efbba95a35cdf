"""Photos in the report: what the mixture was given, with the experts' boxes, and what each expert saw."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from mge.report.figures import EXPERT_COLOURS

PHOTO_SIDE, VIEW_SIDE = 280, 112  # longest sides in pixels, in the page
QUALITY = 80  # of JPEG

Box = tuple[float, float, float, float]


class ShownView(NamedTuple):
    """What one expert saw."""

    picture: str  # a data URI
    label: str
    is_right: bool
    gate_percent: float
    colour: str


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
        ShownView(_as_uri(_cut_out(picture, box)), said, said == label, 100 * share, _colour(number))
        for number, (box, said, share) in enumerate(zip(boxes_xyxy, expert_labels, gate_probs, strict=True))
    )
    marked = _as_uri(_fit(_with_boxes(picture, boxes_xyxy)))
    return Shown(path, label, answer, percent, label_percent, marked, views, is_doubtful)


def _with_boxes(picture: Image.Image, boxes_xyxy: Sequence[Box]) -> Image.Image:
    """The photo with each expert's box in its colour, on white, so that it can be seen on any photo."""
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    thin = max(1, round(max(picture.size) / 200))
    for number, (x1, y1, x2, y2) in enumerate(boxes_xyxy):
        edges = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        draw.rectangle(edges, outline="white", width=3 * thin)
        draw.rectangle(edges, outline=_colour(number), width=2 * thin)
    return drawn


def _colour(number: int) -> str:
    return EXPERT_COLOURS[number % len(EXPERT_COLOURS)]


def _cut_out(picture: Image.Image, box_xyxy: Box) -> Image.Image:
    """What a box shows, as the expert saw it: stretched to a square."""
    x1, y1, x2, y2 = box_xyxy
    left, top = min(max(x1, 0.0), picture.width - 1.0), min(max(y1, 0.0), picture.height - 1.0)
    right, bottom = min(max(x2, left + 1), picture.width), min(max(y2, top + 1), picture.height)
    return picture.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _fit(picture: Image.Image) -> Image.Image:
    """The picture at the size at which it is shown; a tiny one is enlarged to be seen."""
    scale = PHOTO_SIDE / max(picture.size)
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def _as_uri(picture: Image.Image) -> str:
    """A picture as text that a page holds."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
