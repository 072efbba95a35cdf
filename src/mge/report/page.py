"""The report as one HTML file that holds all it shows, and asks nobody for anything."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mge.console.tables import what_answers
from mge.report.cards import Shown
from mge.report.matrices import Matrix
from mge.report.overlays import EXPERT_COLORS


class PartAccuracy(NamedTuple):
    """What answers, and how often it is right, in percent."""

    name: str
    top1: float
    note: str = ""
    is_main: bool = False


class ClassRow(NamedTuple):
    """How well one class is told, in percent; None where there is nothing to divide by."""

    name: str
    num_photos: int
    recall: float | None
    precision: float | None
    f1: float | None
    mistaken_for: str  # the class that its photos are given most often in its place, and how often


class LocalizationRow(NamedTuple):
    """How well one expert's boxes fit those of the data: figures in percent by their names."""

    name: str
    figures: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Page:
    """What the report says.

    Args:
        title: Above all.
        figures: The figures of the evaluation, as its JSON holds them.
        parts: Accuracy of everything that answers.
        classes: The worst first.
        plots: By their names: `reliability`, `coverage`, `confusion`, `training`, `loss`, `cascade`. Those are missing
            that there is nothing to draw for.
        matrix: The classes of the worst pairs among each other, or all where they are few.
        pairs: The most confused pairs, with photos.
        mistakes: The surest ones.
        doubtful: Photos whose label looks wrong.
        num_doubtful: How many there are.
        localisation: What `mge localise` measured on the same photos; empty where it did not.
        data: Facts about the photos, in order.
        origin: Facts about how the figures came to be, in order.
        files: Names of the files beside the page, and what they hold.
    """

    title: str
    figures: Mapping[str, Any]
    parts: Sequence[PartAccuracy]
    classes: Sequence[ClassRow]
    plots: Mapping[str, Markup]
    matrix: Matrix
    pairs: Sequence[Any]
    mistakes: Sequence[Shown]
    doubtful: Sequence[Shown]
    num_doubtful: int
    localisation: Sequence[LocalizationRow]
    data: Mapping[str, str]
    origin: Mapping[str, str]
    files: Mapping[str, str]


def render(page: Page) -> str:
    """The whole file."""
    environment = Environment(
        loader=PackageLoader("mge", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "count": count}
    template = environment.get_template("report.html")
    return template.render(colors=EXPERT_COLORS, who=what_answers(page.figures), **vars(page))


def percent(value: float | None, digits: int = 1) -> str:
    """A figure in percent, for people."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}\N{NO-BREAK SPACE}%"


def count(value: int) -> str:
    """A number, for people."""
    return f"{value:,}"
