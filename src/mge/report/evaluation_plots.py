"""Plots of an evaluation for the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mge.evaluation.coverage import thin_out
from mge.evaluation.evaluation import Evaluation
from mge.evaluation.rejection import trace_answers
from mge.evaluation.temperature import bins_of
from mge.report.matrices import LARGEST_TABLE
from mge.report.plots import Bins, Curve, draw_confusion, draw_coverage, draw_curves, draw_reliability

MOST_POINTS = 300  # of a curve
FEWEST = 10  # photos: the accuracy of fewer is too noisy to plot


def draw_plots(
    evaluation: Evaluation,
    *,
    confusion: NDArray[np.int64],
    order: Sequence[int],
    metrics: Sequence[Mapping[str, float]],
) -> dict[str, Markup]:
    """Draw the available plots, by their names.

    Args:
        evaluation: The evaluation.
        confusion: The confusion matrix.
        order: The classes to show of it, in the order of the plot.
        metrics: The epochs of training.
    """
    names = evaluation.classifier.class_names
    plots = {"reliability": _reliability(evaluation), "coverage": _coverage(evaluation)}
    if len(order) > LARGEST_TABLE:
        alt = f"Confusion matrix of {len(order)} classes; the numbers are in confusion.csv"
        counts = confusion[np.ix_(order, order)]
        plots["confusion"] = draw_confusion(counts, [names[number] for number in order], alt=alt)
    if "cascade_curve" in evaluation.figures:
        plots["cascade"] = _cascade(evaluation.figures["cascade_curve"])
    if metrics:
        plots |= _training(metrics)
    return plots


def _reliability(evaluation: Evaluation) -> Markup:
    calibration = evaluation.figures["calibration"]
    series = []
    for name, temperature in (("before", 1.0), ("after", calibration["temperature"])):
        bins = bins_of(evaluation.answers, temperature=temperature)
        label = f"{name}: ECE {calibration[f'ece_{name}']:.1f} %"
        series.append(Bins(label, *(column.tolist() for column in bins)))
    shown = series if "validation" in calibration else series[:1]
    alt = f"Reliability diagram. Expected calibration error {' and '.join(bins.name for bins in shown)}"
    return draw_reliability(shown, alt=alt)


def _coverage(evaluation: Evaluation) -> Markup:
    temperature = evaluation.figures["calibration"]["temperature"]
    traced = thin_out(trace_answers(evaluation.answers, temperature=temperature), at_most=MOST_POINTS)
    num_photos, total = traced.num_accepted.double(), len(evaluation.answers.labels)
    accuracy = 100 * (1 - traced.num_wrong / num_photos)
    is_shown = num_photos >= min(FEWEST, total)
    curve = Curve("mixture", (100 * num_photos / total)[is_shown].tolist(), accuracy[is_shown].tolist())
    rejection = evaluation.figures.get("rejection", {})
    chosen = target = None
    if rejection.get("num_accepted"):
        chosen = (rejection["accepted_percent"], 100 - rejection["error_percent"])
    if "target_error" in rejection:
        target = 100 * (1 - rejection["target_error"])
    alt = f"Accuracy against coverage: {curve.y[0]:.0f} % at a coverage of {curve.x[0]:.0f} %, "
    return draw_coverage(curve, chosen=chosen, target=target, alt=f"{alt}{curve.y[-1]:.0f} % at 100 %")


def _cascade(points: Sequence[Mapping[str, Any]]) -> Markup:
    experts = [point["mean_experts"] for point in points]
    curve = Curve("early exit", experts, [point["top1"] for point in points])
    alt = f"Accuracy with early exit, from {min(experts):.1f} to {max(experts):.1f} experts per photo"
    return draw_curves(
        [curve], x_label="mean number of experts per photo", y_label="accuracy (%)", name="cascade", alt=alt,
        is_marked=True,
    )  # fmt: skip


def _training(metrics: Sequence[Mapping[str, float]]) -> dict[str, Markup]:
    """Draw accuracy and loss by epoch, with a line at the start of each stage."""
    stages = [row["stage"] for row in metrics]
    breaks = [place + 0.5 for place in range(1, len(stages)) if stages[place] != stages[place - 1]]
    experts = sorted({name for row in metrics for name in row if name.startswith("val_top1_expert")})
    accuracies = {"mixture, validation": "val_top1_mixture", "mixture, training": "train_top1_mixture"}
    accuracies |= {f"expert {name.removeprefix('val_top1_expert')}, validation": name for name in experts}
    losses = {"mixture, validation": "val_loss_mixture", "mixture, training": "train_loss_mixture"}
    plots = {}
    for name, columns, label in (("training", accuracies, "accuracy (%)"), ("loss", losses, "loss")):
        curves = [curve for title, column in columns.items() if (curve := _column(metrics, column, title=title)).x]
        if curves:
            alt = f"Training over {len(metrics)} epochs: {label.removesuffix(' (%)')} of " + "; ".join(
                f"{curve.name}, final {curve.y[-1]:.1f}" for curve in curves
            )
            plots[name] = draw_curves(curves, x_label="epoch", y_label=label, name=name, alt=alt, breaks=breaks)
    return plots


def _column(metrics: Sequence[Mapping[str, float]], column: str, *, title: str) -> Curve:
    """Return one metric over the epochs, numbered from 1 over all stages, where it was measured."""
    points = [(place, row[column]) for place, row in enumerate(metrics, start=1) if column in row]
    finite = [(place, value) for place, value in points if math.isfinite(value)]
    return Curve(title, [place for place, _ in finite], [value for _, value in finite])
