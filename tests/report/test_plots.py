"""The report's plots: SVG that a page can take in."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from mge.report.plots import Bins, Curve, draw_confusion, draw_coverage, draw_curves, draw_reliability

NAN = float("nan")


@pytest.fixture(scope="module")
def plots() -> list[Markup]:
    bins = Bins("before", [0, 5, 9], [NAN, 0.5, 0.9], [NAN, 0.4, 1.0])
    curves = [Curve("expert <0>", [1, 2, 3], [10.0, 50.0, 60.0]), Curve("mixture", [3], [70.0])]
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 5]])
    return [
        draw_reliability([bins, bins], alt="reliability & more"),
        draw_coverage(curves[0], chosen=(2, 50), target=95, alt="coverage"),
        draw_curves(curves, x_label="epoch", y_label="right, %", name="training", alt='a "curve"', breaks=[1.5]),
        draw_confusion(counts, ["Bär $x$", "a <b>", "c" * 40], alt="confusion"),
    ]


def test_a_plot_is_one_svg_element_with_a_description(plots: list[Markup]) -> None:
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.tag.endswith("svg")
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert root.get("width") is None
        assert root.get("viewBox")
    assert ElementTree.fromstring(plots[0]).get("aria-label") == "reliability & more"
    assert ElementTree.fromstring(plots[2]).get("aria-label") == 'a "curve"'


def test_text_and_axes_have_the_pages_color_and_nothing_leads_out(plots: list[Markup]) -> None:
    for plot in plots:
        assert "currentColor" in plot
        assert not re.search("#0{6}|#f{6}|#010203|#040506", plot)
        assert not re.search(r'(href|src)="(?!#|data:)', plot)
        assert "<style" not in plot


def test_no_two_plots_share_a_name_for_their_parts(plots: list[Markup]) -> None:
    clips = [set(re.findall(r'<clipPath id="([^"]+)"', plot)) for plot in plots]
    assert all(clips)
    assert sum(map(len, clips)) == len(set.union(*clips))


def test_names_of_classes_are_written_as_they_are(plots: list[Markup]) -> None:
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(plots[3]).iter()]
    assert "Bär $x$" in texts
    assert "a <b>" in texts
    assert "c" * 23 + "…" in texts


def test_two_hundred_classes_are_named_in_a_larger_plot_and_a_thousand_are_not() -> None:
    def draw(num_classes: int) -> Markup:
        names = [f"class {number}" for number in range(num_classes)]
        return draw_confusion(np.eye(num_classes, dtype=np.int64), names, alt="all")

    few, many = draw(200), draw(1000)
    assert few.count("class 7<") == 2
    assert float((ElementTree.fromstring(few).get("viewBox") or "").split()[2]) > 1200
    assert "class 7<" not in many
    assert max(len(few), len(many)) < 400_000


@pytest.mark.parametrize("epochs", [[1], [1, 2, 3]])
def test_few_epochs_are_counted_in_whole_numbers(epochs: list[int]) -> None:
    curve = Curve("mixture", epochs, [50.0] * len(epochs))
    plot = draw_curves([curve], x_label="epoch", y_label="right, %", name="training", alt="training")
    axis = plot[plot.index("matplotlib.axis_1") : plot.index("matplotlib.axis_2")]
    ticks = re.findall(r"<text[^>]*>([^<]+)</text>", axis)
    assert set(map(str, epochs)) <= set(ticks)
    assert not [tick for tick in ticks if "." in tick]
