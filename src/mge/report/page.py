"""The report as one self-contained HTML file, without any network access."""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mge.console.tables import what_answers
from mge.notebook.thumbnail import EXPERT_COLORS
from mge.report.cards import Shown
from mge.report.matrices import Matrix


class PartAccuracy(NamedTuple):
    """A component with its accuracy in percent."""

    name: str
    top1: float
    note: str = ""
    is_main: bool = False


class ClassRow(NamedTuple):
    """Metrics of one class, in percent; None if the denominator is 0."""

    name: str
    num_photos: int
    recall: float | None
    precision: float | None
    f1: float | None
    mistaken_for: str  # the class most often predicted in its place, and how often


class LocalizationRow(NamedTuple):
    """Localization metrics of one expert, in percent by name."""

    name: str
    figures: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Page:
    """Content of the report.

    Args:
        title: Title of the page.
        figures: The metrics of the evaluation, as in its JSON.
        parts: Accuracy of the mixture, its experts and its baselines.
        heads: Accuracy of the experts' heads.
        classes: The classes, the worst first.
        plots: Plots by name: `reliability`, `coverage`, `confusion`, `training`, `loss`, `cascade`. Plots without data
            are missing.
        matrix: Confusions among the classes of the most confused pairs, or among all if they are few.
        pairs: The most confused pairs, with photos.
        mistakes: The most confident mistakes.
        doubtful: Photos with a doubtful label.
        localisation: Metrics of `mge localize` on the same photos; empty without them.
        data: Facts about the photos, in order.
        origin: Facts about the origin of the metrics, in order.
        files: Names of the files beside the page, with descriptions.
    """

    title: str
    figures: Mapping[str, Any]
    parts: Sequence[PartAccuracy]
    heads: Sequence[PartAccuracy]
    classes: Sequence[ClassRow]
    plots: Mapping[str, Markup]
    matrix: Matrix
    pairs: Sequence[Any]
    mistakes: Sequence[Shown]
    doubtful: Sequence[Shown]
    localisation: Sequence[LocalizationRow]
    data: Mapping[str, str]
    origin: Mapping[str, str]
    files: Mapping[str, str]


def render(page: Page) -> str:
    """Render the whole file."""
    environment = Environment(
        loader=PackageLoader("mge", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "count": count}
    template = environment.get_template("report.html")
    script, script_hash = _read_script()
    who = what_answers(page.figures)
    return template.render(colors=EXPERT_COLORS, who=who, script=script, script_hash=script_hash, **vars(page))


def _read_script() -> tuple[Markup, str]:
    """Return the page's script, and its hash for the content security policy, which allows no other script."""
    script = files("mge.report").joinpath("report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return Markup(script), f"sha256-{base64.b64encode(digest).decode()}"


def percent(value: float | None, digits: int = 1) -> str:
    """Format a percentage for users."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}\N{NO-BREAK SPACE}%"


def count(value: int) -> str:
    """Format a number for users."""
    return f"{value:,}"
