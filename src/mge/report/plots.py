"""The report's plots, as SVG that inherits the page's colours and so is legible in light and dark mode.

Lines differ in colour (Okabe and Ito's palette, distinguishable for colour-blind people), in marker and in dashes.
"""

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mge.notebook.thumbnail import EXPERT_COLORS

# Placeholders for the page's colours: of its text, and of the background.
TEXT, FAINT = "#010203", "#040506"
PAGE_COLORS = {TEXT: "currentColor", FAINT: "var(--faint)"}
RIGHT, WRONG = EXPERT_COLORS[0], EXPERT_COLORS[4]
MARKERS, DASHES = "os^Dv<>P", ("-", "--", "-.", ":")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 10, "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT,
    "ytick.color": TEXT, "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "figure.facecolor": "none",
    "axes.facecolor": "none", "savefig.facecolor": "none", "text.parse_math": False,
}  # fmt: skip
MOST_NAMED = 250  # classes with names beside a matrix
INCHES_A_CLASS = 0.085  # of a matrix that has room for a name in each row
PX_AN_INCH = 110  # at least; what does not fit can be scrolled


class Curve(NamedTuple):
    """A line of a plot."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Bins(NamedTuple):
    """Data of a reliability diagram: see `mge.evaluation.calibration.Reliability`."""

    name: str
    counts: Sequence[int]
    confidence: Sequence[float]  # NaN for an empty bin
    accuracy: Sequence[float]


def draw_reliability(series: Sequence[Bins], *, alt: str) -> Markup:
    """Plot accuracy against confidence; below it, the number of photos by confidence."""
    with style.context(STYLE):
        figure = Figure(figsize=(5, 5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 100], [0, 100], color=TEXT, linewidth=1, linestyle=":", label="perfect calibration")
        for number, bins in enumerate(series):
            line = {"color": (WRONG, RIGHT)[number % 2], "linestyle": DASHES[(number + 1) % 2]}
            shown = [place for place, count in enumerate(bins.counts) if count]
            xs, ys = ([100 * values[place] for place in shown] for values in (bins.confidence, bins.accuracy))
            upper.plot(xs, ys, marker=MARKERS[number], markersize=5, label=bins.name, **line)
            edges = np.linspace(0, 100, len(bins.counts) + 1)
            lower.stairs(np.asarray(bins.counts), edges, linewidth=1.5, **line)
        upper.set_ylabel("accuracy (%)")
        lower.set_ylabel("photos")
        lower.set_xlabel("confidence (%)")
        upper.set_xlim(0, 100)
        upper.set_ylim(0, 100)
        upper.legend(loc="upper left")
        return _as_svg(figure, name="reliability", alt=alt)


def draw_coverage(curve: Curve, *, chosen: tuple[float, float] | None, target: float | None, alt: str) -> Markup:
    """Plot accuracy against coverage, in percent.

    Args:
        curve: Coverage and accuracy.
        chosen: Position of the stored threshold.
        target: The target accuracy.
        alt: Alternative text.
    """
    with style.context(STYLE):
        figure = Figure(figsize=(5, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(curve.x, curve.y, color=RIGHT, linewidth=2)
        if target is not None:
            axes.axhline(target, color=WRONG, linestyle="--", linewidth=1.2, label="target")
        if chosen is not None:
            axes.plot(*chosen, marker="D", markersize=8, color=WRONG, linestyle="", label="stored threshold")
        if target is not None or chosen is not None:
            axes.legend(loc="lower left")
        axes.set_xlabel("coverage (%)")
        axes.set_ylabel("accuracy of accepted photos (%)")
        axes.set_xlim(0, 100)
        axes.set_ylim(top=100.5)
        return _as_svg(figure, name="coverage", alt=alt)


def draw_curves(
    curves: Sequence[Curve], *, x_label: str, y_label: str, name: str, alt: str, breaks: Sequence[float] = (),
    is_marked: bool = False,
) -> Markup:  # fmt: skip
    """Plot lines over a common axis.

    Args:
        curves: The lines, each with its own colour and dashes.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        name: Unique name of the plot on the page.
        alt: Alternative text.
        breaks: Positions of vertical lines.
        is_marked: Whether each point is marked.
    """
    with style.context(STYLE):
        figure = Figure(figsize=(5, 3.8), layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            color = EXPERT_COLORS[number % len(EXPERT_COLORS)]
            axes.plot(
                curve.x, curve.y, color=TEXT if color == "#000000" else color, label=curve.name, linewidth=1.8,
                linestyle=DASHES[number % len(DASHES)],
                marker=MARKERS[number % len(MARKERS)] if is_marked or len(curve.x) == 1 else "", markersize=5,
            )  # fmt: skip
        if all(isinstance(x, int) for curve in curves for x in curve.x):  # there is no epoch 1.5
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for place in breaks:
            axes.axvline(place, color=TEXT, linewidth=0.8, linestyle=":")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(curves) > 1:
            figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        return _as_svg(figure, name=name, alt=alt)


def draw_confusion(counts: NDArray[np.int64], class_names: Sequence[str], *, alt: str) -> Markup:
    """Plot a whole confusion matrix: the stronger the blue, the more of a row is right; orange marks mistakes."""
    num_classes = len(class_names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    pixels = np.zeros((num_classes, num_classes, 4))
    pixels[..., :3] = to_rgb(WRONG)
    pixels[..., 3] = np.where(shares > 0, 0.15 + 0.85 * np.sqrt(shares), 0)  # keeps single mistakes visible
    diagonal = np.arange(num_classes)
    pixels[diagonal, diagonal, :3] = to_rgb(RIGHT)
    with style.context(STYLE):
        side = max(9.0, INCHES_A_CLASS * min(num_classes, MOST_NAMED))
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(pixels, interpolation="none")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        _name_classes(axes, class_names)
        return _as_svg(figure, name="confusion", alt=alt, least_px=PX_AN_INCH * round(side))


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    num_classes = len(class_names)
    if num_classes > MOST_NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    size = max(4.5, min(9, 480 / num_classes))
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in class_names]
    axes.set_xticks(range(num_classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(num_classes), names, fontsize=size)
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _as_svg(figure: Figure, *, name: str, alt: str, least_px: int = 0) -> Markup:
    """Convert a figure to an SVG element for a page: no header, no fixed size, and the page's colours."""
    FigureCanvasSVG(figure)
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):  # ids that are unique on the page
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for color, of_page in PAGE_COLORS.items():
        svg = svg.replace(color, of_page)
    style_of_its_own = f' style="min-width: {least_px}px"' if least_px else ""
    described = svg.replace(
        "<svg", f'<svg role="img" aria-label="{escape(alt)}" class="plot {name}"{style_of_its_own}', 1
    )
    return Markup(described)
