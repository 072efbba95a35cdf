"""A comparison as tables, as a list of the decisive photos, and in pictures."""

import csv
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from rich.table import Table

from mge.console.tables import bold, say
from mge.data.photo import as_text, open_photo
from mge.data.records import Record
from mge.report.grid import Strip, draw_contact_sheet
from mge.report.text import percent

MAX_SHOWN, SHOWN_SIDE = 30, 210  # photos of the contact sheet, and their side in pixels


class Difference(NamedTuple):
    """A photo for which the runs disagree."""

    record: Record
    answers: Sequence[tuple[str, float, float]]  # a run's prediction, its probability, and that of the true class


def differences_csv(differences: Sequence[Difference], names: Sequence[str]) -> str:
    """Format one line per photo: its class, and for each run its prediction, probability and correctness."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{name} {what}" for name in names for what in ("answer", "probability", "of true class", "is right")]
    writer.writerow(["path", "label", *columns])
    for record, answers in differences:
        cells = [
            cell
            for answer, share, of_truth in answers
            for cell in (answer, round(share, 4), round(of_truth, 4), int(answer == record.label))
        ]
        writer.writerow([as_text(str(record.path)), record.label, *cells])
    return text.getvalue()


def draw_differences(differences: Sequence[Difference], file: Path, *, names: Sequence[str]) -> None:
    """Draw the first of the photos, with the predictions of each run.

    Args:
        differences: At least one, in the order of importance.
        file: PNG to write.
        names: Names of the runs.
    """
    shown = differences[:MAX_SHOWN]
    with ThreadPoolExecutor() as pool:
        opened = pool.map(lambda each: open_photo(each.record.content, at_least_px=2 * SHOWN_SIDE), shown)
        strips = [Strip("\n".join(_lines(each)), [photo]) for each, photo in zip(shown, opened, strict=True)]
    who = ",  ".join(f"{letter} {name}" for letter, name in zip(ascii_uppercase, names, strict=False))
    draw_contact_sheet(strips, file, side=SHOWN_SIDE, title=f"{who}   ({len(shown)} of {len(differences)} photos)")


def _lines(difference: Difference) -> list[str]:
    record, answers = difference
    said = [
        f"{letter} {'✓' if answer == record.label else '✗'} {percent(share)} {answer}"
        for letter, (answer, share, _) in zip(ascii_uppercase, answers, strict=False)
    ]
    return [record.label, *said]


def print_comparison(figures: Mapping[str, Any], *, files: Sequence[Path]) -> None:
    """Print accuracy and cost of each run, then each pair, then the paths of the photos."""
    say(runs_table(figures), pairs_table(figures))
    if len(figures["pairs"]) > 1:
        say(
            f"Multiple comparisons: with {len(figures['pairs'])} pairs, require p < {0.05 / len(figures['pairs']):.2g} "
            "(Bonferroni)."
        )
    say("Photos with different predictions: " + ", ".join(str(file) for file in files))


def runs_table(figures: Mapping[str, Any]) -> Table:
    """Return the table of each run's accuracy and cost."""
    table = Table(
        title=f"Accuracy on {figures['num_photos']} photos of the {figures['split']} split of {figures['data']}"
    )
    table.add_column("run")
    for head in ("top-1 (%)", "95 % CI", "multiply-adds", "parameters"):
        table.add_column(head, justify="right")
    for letter, row in zip(ascii_uppercase, figures["runs"], strict=False):
        table.add_row(
            f"{letter} {row['name']}", bold(f"{row['top1']:.2f}"), _interval(row["interval"]),
            f"{row['multiply_adds'] / 1e6:,.1f} M", f"{row['parameters'] / 1e6:,.2f} M",
        )  # fmt: skip
    return table


def pairs_table(figures: Mapping[str, Any]) -> Table:
    """Return the table of each pair's difference in accuracy, with its significance."""
    letters = {row["name"]: letter for letter, row in zip(ascii_uppercase, figures["runs"], strict=False)}
    table = Table(title="Paired differences in accuracy (same photos)")
    table.add_column("pair")
    for head in ("points", "95 % CI", "only first", "only second", "McNemar p"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in figures["pairs"]:
        table.add_row(
            f"{letters[row['second']]} - {letters[row['first']]}", f"{row['difference']:+.2f}",
            _interval(row["interval"], sign="+"), str(row["num_only_first"]), str(row["num_only_second"]),
            f"{row['p_value']:.3g}",
        )  # fmt: skip
    return table


def _interval(ends: Sequence[float], *, sign: str = "") -> str:
    return f"{ends[0]:{sign}.2f} to {ends[1]:{sign}.2f}"
