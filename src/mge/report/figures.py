"""Pictures of where the experts looked."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

# Okabe and Ito's colours, which colour-blind people can tell apart.
EXPERT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")

LONGEST_LABEL = 27  # letters that fit above a picture


class ExpertView(NamedTuple):
    """What one expert saw of a photo, and what it made of it."""

    attention: NDArray[np.float32]  # (h, w) in [0, 1], over the box
    box_xyxy: tuple[float, float, float, float]  # in pixels of the picture
    label: str
    probability: float
    gate_prob: float


class Explanation(NamedTuple):
    """One photo with every expert's view of it."""

    picture: NDArray[np.uint8]  # (H, W, 3)
    views: Sequence[ExpertView]
    label: str  # the mixture's answer
    probability: float
    true_label: str | None = None


def draw_experts(explanations: Sequence[Explanation], file: Path, *, title: str = "") -> None:
    """One row a photo: the photo with all boxes, then each expert's view with its attention over it.

    Args:
        explanations: What to draw.
        file: PNG to write.
        title: Written above.
    """
    columns = 1 + max(len(explanation.views) for explanation in explanations)
    figure = Figure(figsize=(2.3 * columns, 2.65 * len(explanations) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(explanations), columns, squeeze=False)
    for row, explanation in zip(grid, explanations, strict=True):
        _draw_photo(row[0], explanation)
        for number, (axes, view) in enumerate(zip(row[1:], explanation.views, strict=False)):
            _draw_view(axes, explanation.picture, view, number=number)
        for axes in row[1 + len(explanation.views) :]:
            axes.set_axis_off()
    if title:
        figure.suptitle(title)
    figure.savefig(file, dpi=110)


def _draw_photo(axes: Axes, explanation: Explanation) -> None:
    axes.imshow(explanation.picture)
    for number, view in enumerate(explanation.views):
        x1, y1, x2, y2 = view.box_xyxy
        colour = EXPERT_COLOURS[number % len(EXPERT_COLOURS)]
        axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
    is_known = explanation.true_label is not None
    mark = "" if not is_known else " ✓" if explanation.true_label == explanation.label else " ✗"
    truth = f"\ntruly {_shortened(explanation.true_label or '')}" if mark == " ✗" else ""
    axes.set_title(f"{_shortened(explanation.label)} {100 * explanation.probability:.0f} %{mark}{truth}", fontsize=8)
    _without_ticks(axes, colour="#808080")


def _draw_view(axes: Axes, picture: NDArray[np.uint8], view: ExpertView, *, number: int) -> None:
    x1, y1, x2, y2 = view.box_xyxy
    left, top = max(0, math.floor(x1)), max(0, math.floor(y1))
    crop = picture[top : max(top + 1, math.ceil(y2)), left : max(left + 1, math.ceil(x2))]
    height, width = crop.shape[:2]
    extent = (0.0, float(width), float(height), 0.0)
    axes.imshow(crop, extent=extent)
    axes.imshow(view.attention, extent=extent, cmap="magma", alpha=0.42, interpolation="bilinear", vmin=0, vmax=1)
    axes.set_aspect(height and width / height)
    axes.set_title(
        f"expert {number}, gate {100 * view.gate_prob:.0f} %\n{_shortened(view.label)} {100 * view.probability:.0f} %",
        fontsize=8,
    )
    _without_ticks(axes, colour=EXPERT_COLOURS[number % len(EXPERT_COLOURS)])


def _shortened(label: str) -> str:
    """A class name that fits above a picture: its beginning and its end."""
    half = (LONGEST_LABEL - 1) // 2
    return label if len(label) <= LONGEST_LABEL else f"{label[:half]}…{label[-half:]}"


def _without_ticks(axes: Axes, *, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(2)
