"""Explained photos as HTML pages: each page is whole in itself, and needs nothing from the network."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from mge.data.photo import as_text
from mge.report.cards import as_uri
from mge.report.explanation_card import Drawn, score
from mge.report.figures import Explanation
from mge.report.overlays import expert_color
from mge.report.text import percent
from mge.storage.files import write_text_atomically


class EntryView(NamedTuple):
    """A view in the page, and what is said about it."""

    picture: str  # as a data URI
    color: str
    gate: str
    top: list[tuple[str, str, float]]  # class, its probability for people, and in percent for its bar
    scores: list[str]  # below each of its contrasts
    contrasts: list[str]  # as data URIs


class GalleryEntry(NamedTuple):
    """A photo in the page."""

    label: str
    chance: str
    probability: float
    path: str
    file: str  # the whole picture, beside the page
    other: str  # the class that the answer is contrasted with; empty where it is not
    top: list[tuple[str, str, float]]
    photo: str  # as a data URI
    views: list[EntryView]


def make_entry(explanation: Explanation, parts: Drawn, *, file: str) -> GalleryEntry:
    """What a page shows of an explanation.

    Args:
        explanation: What is said in words.
        parts: What is shown.
        file: Name of the whole picture, beside the page.
    """
    views = [
        EntryView(
            as_uri(picture), expert_color(number), percent(view.gate_prob), _ranking(view.top),
            [score(view.contrast, row=row) for row in range(len(parts.contrasts)) if view.contrast],
            [as_uri(row[number]) for row in parts.contrasts],
        )
        for number, (view, picture) in enumerate(zip(explanation.views, parts.attention, strict=True))
    ]  # fmt: skip
    return GalleryEntry(
        explanation.label, percent(explanation.probability), explanation.probability, as_text(explanation.path),
        quote(os.fsencode(file)), explanation.other_label or "", _ranking(explanation.top), as_uri(parts.photo), views,
    )  # fmt: skip


def write_page(entries: Sequence[GalleryEntry], folder: Path, *, title: str, names: Sequence[str], number: int) -> None:
    """Writes one page.

    Args:
        entries: Its photos.
        folder: Where the pages and the whole pictures lie.
        title: Of all pages.
        names: Of all pages.
        number: Which of them this is.
    """
    environment = Environment(loader=PackageLoader("mge", "report"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("gallery.html").render(entries=entries, title=title, names=names, number=number)
    write_text_atomically(folder / names[number], page)


def _ranking(top: Sequence[tuple[str, float]]) -> list[tuple[str, str, float]]:
    return [(label, percent(share), round(100 * share, 1)) for label, share in top]
