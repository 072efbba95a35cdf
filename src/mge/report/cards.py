"""Photos in the report: the input of the mixture, with the experts' boxes and views."""

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
    """View of one expert."""

    picture: str  # a data URI
    label: str
    is_right: bool
    gate_percent: float
    color: str


class Shown(NamedTuple):
    """A photo with its predictions."""

    path: str
    label: str
    answer: str
    percent: float  # of the prediction
    label_percent: float  # of the label
    picture: str  # a data URI
    views: tuple[ShownView, ...]
    is_doubtful: bool  # whether the label is doubtful

    @property
    def is_right(self) -> bool:
        """True if the prediction is the label."""
        return self.label == self.answer


def show(
    picture: Image.Image, boxes_xyxy: Sequence[Box], *, path: str, label: str, answer: str, percent: float,
    label_percent: float, expert_labels: Sequence[str], gate_probs: Sequence[float], is_doubtful: bool,
) -> Shown:  # fmt: skip
    """Prepare a photo for the page.

    Args:
        picture: Input image of the mixture.
        boxes_xyxy: Region seen by each expert, in pixels of the picture.
        path: Path of the photo.
        label: True class.
        answer: Class predicted by the mixture.
        percent: Probability of the prediction.
        label_percent: Probability of the label.
        expert_labels: Class predicted by each expert.
        gate_probs: Gate weight of each expert.
        is_doubtful: Whether the label is doubtful.
    """
    views = tuple(
        ShownView(as_uri(cut_out(picture, box, side=VIEW_SIDE)), said, said == label, 100 * share, expert_color(number))
        for number, (box, said, share) in enumerate(zip(boxes_xyxy, expert_labels, gate_probs, strict=True))
    )
    marked = draw_boxes(fit_photo(picture, side=PHOTO_SIDE), boxes_xyxy, size=picture.size)
    return Shown(as_text(path), label, answer, percent, label_percent, as_uri(marked), views, is_doubtful)


def as_uri(picture: Image.Image) -> str:
    """Encode a picture as a data URI."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
