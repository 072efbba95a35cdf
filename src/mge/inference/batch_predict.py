"""Any number of photos into rows of predictions, kept as they are made: a killed run goes on where it stopped."""

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from mge.console.progress import track_photos
from mge.data.photo import NamedPhoto, as_text
from mge.errors import DataError
from mge.inference.prediction import Photo, Prediction, name_of
from mge.inference.resumable_rows import Parts
from mge.inference.writers import ALL, Form, Row, print_rows, write_rows
from mge.storage.files import write_atomically

KEPT = 10_000  # predictions that are also given to the caller where they go to a file
NAMED = 10  # photos that could not be read and are named one by one
FAILED = "failed"  # in a row: why its photo could not be read

Ask = Callable[[Iterable[Photo]], Iterator[Prediction | DataError]]


@dataclasses.dataclass
class PredictionCounts:
    """What became of the photos.

    Args:
        num_classified: How many have a prediction.
        num_looks: How many experts looked at them, together.
        num_unknown: How many of them are labelled `unknown`.
        reasons: Why the others have none.
    """

    num_classified: int = 0
    num_looks: int = 0
    num_unknown: int = 0
    reasons: list[str] = dataclasses.field(default_factory=list)

    def sift(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Gives the rows of predictions on, and counts all of them."""
        for row in rows:
            if FAILED in row:
                self.reasons.append(row[FAILED])
            else:
                self.num_classified += 1
                self.num_looks += row["num_experts_run"]
                self.num_unknown += bool(row["reason"])
                yield row

    def report(self, *, num_experts: int | None) -> None:
        """Says how many photos are unknown and, of a cascade, how many of so many experts looked."""
        if self.num_unknown:
            sys.stderr.write(
                f"{self.num_unknown} of {self.num_classified} photos are unknown; --reject false names them anyway\n"
            )
        if num_experts is not None and self.num_classified:
            mean = self.num_looks / self.num_classified
            sys.stderr.write(f"{mean:.2f} of {num_experts} experts looked at a photo on average\n")

    def check(self) -> None:
        """Raises DataError where photos could not be read."""
        if self.reasons:
            raise DataError(
                f"{len(self.reasons)} of {len(self.reasons) + self.num_classified} photos could not be read, the "
                f"others were classified: {name_some(self.reasons)}"
            )


def make_rows(
    ask: Ask, photos: Sequence[Photo], *, top: int, kept: list[Prediction], is_quiet: bool, with_all: bool = False
) -> Iterator[Row]:
    """Classifies photos, and shows how far it is.

    Args:
        ask: Classifies them, in order.
        photos: The photos.
        top: How many of the likeliest classes a row holds.
        kept: Gets the predictions.
        is_quiet: Show nothing.
        with_all: Whether a row holds the probability of every class, too.

    Yields:
        A row for each photo, in order; for one that cannot be read, its reason.
    """
    results = track_photos(ask(photos), verb="classifying", total=len(photos), is_quiet=is_quiet)
    for photo, result in zip(photos, results, strict=True):
        if isinstance(result, DataError):
            yield {"path": as_text(name_of(photo)), FAILED: as_text(str(result))}
        else:
            kept.append(result)
            yield as_row(result, top=top, with_all=with_all)


def classify_to_stream(
    ask: Ask, photos: Sequence[Photo], out: TextIO, *, form: Form, num_experts: int, top: int, counts: PredictionCounts,
    with_all: bool = False,
) -> list[Prediction]:  # fmt: skip
    """Classifies photos into a pipe or a device, row by row; nothing is kept of it beside.

    Args:
        ask: Classifies some photos, in order.
        photos: All photos.
        out: What takes the rows.
        form: Of the rows.
        num_experts: For how many CSV has columns.
        top: How many of the likeliest classes a row holds.
        counts: Counts what became of the photos.
        with_all: Whether rows hold the probability of every class.

    Returns:
        The predictions, where there are at most 10,000 photos.
    """
    kept: list[Prediction] = []

    def rows() -> Iterator[Row]:
        for row in make_rows(ask, photos, top=top, kept=kept, is_quiet=out.isatty(), with_all=with_all):
            if len(photos) > KEPT:
                kept.clear()
            yield row

    print_rows(counts.sift(rows()), out, form=form, num_experts=num_experts)
    return kept


def classify_to_file(
    ask: Ask, photos: Sequence[Photo], output: Path, *, plan: dict[str, Any], form: Form, num_experts: int, top: int,
    counts: PredictionCounts, with_all: bool = False,
) -> list[Prediction]:  # fmt: skip
    """Classifies photos into a file, which appears when it is complete.

    What is done is kept beside it as it is done. Where torchrun started several processes, each does its share, and
    the first writes the file.

    Args:
        ask: Classifies some photos, in order.
        photos: All photos.
        output: The file.
        plan: What decides the predictions, beside the photos: rows of another plan are thrown away. Rows of photos that
            have changed since, or are called by another name, are made anew.
        form: Of the file.
        num_experts: For how many a CSV file has columns.
        top: How many of the likeliest classes a row holds.
        counts: Counts what became of the photos, in the first process.
        with_all: Whether a row holds the probability of every class, too.

    Returns:
        The predictions of this call and process, where there are at most 10,000 photos.
    """
    rank, num_processes = processes()
    plan, keys = {**plan, "top": top}, identify(photos)
    kept: list[Prediction] = []
    with Parts(output, plan=plan, keys=keys, rank=rank, num_processes=num_processes) as parts:
        if parts.done and rank == 0:
            sys.stderr.write(f"going on: {len(parts.done):,} of {len(photos):,} photos were classified before\n")
        if parts.was_begun_otherwise:
            sys.stderr.write(f"{output} was begun with another model or other options: all is done anew\n")
        mine = [photos[number] for number in parts.mine]
        made = make_rows(ask, mine, top=top, kept=kept, is_quiet=rank > 0, with_all=with_all)
        for number, row in zip(parts.mine, made, strict=True):
            parts.append(number, row)
            if len(photos) > KEPT:
                kept.clear()
        if rank == 0:
            parts.wait_for_all()
            rows = counts.sift(parts.rows())
            write_atomically(output, lambda file: write_rows(rows, file, form=form, num_experts=num_experts))
            parts.finish()
    return kept


def name_some(reasons: Sequence[str]) -> str:
    """The first reasons why photos could not be read, and how many more there are."""
    more = [f"and {len(reasons) - NAMED:,} more"] if len(reasons) > NAMED else []
    return "; ".join([*reasons[:NAMED], *more])


def processes() -> tuple[int, int]:
    """The number of this process, and how many there are, as torchrun tells them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def as_row(prediction: Prediction, *, top: int, with_all: bool = False) -> Row:
    """A prediction as plain values."""
    path, label = as_text(prediction.path), prediction.label
    row: Row = {"path": path, "label": label, "probability": prediction.probability}
    row |= {"likeliest": prediction.likeliest, "reason": prediction.reason}
    row["top"] = [{"label": label, "probability": probability} for label, probability in prediction.top(top)]
    row["expert_labels"] = list(prediction.expert_labels)
    row["num_experts_run"] = prediction.num_experts_run
    row["gate_probs"] = list(prediction.gate_probs)
    row["boxes_xyxy"] = [list(box) for box in prediction.boxes_xyxy]
    if with_all:
        row[ALL] = dict(zip(prediction.class_names, prediction.probabilities, strict=True))
    return row


def identify(photos: Sequence[Photo]) -> list[str]:
    """Return what tells each photo from any other, and from itself before it was changed.

    That is what it is called, where it lies, and how large and how old its file is, or the larger file that it lies in.
    """
    stamps: dict[str, list[str | int]] = {}  # of larger files, each looked up once
    keys = []
    for photo in photos:
        name = name_of(photo)
        if isinstance(photo, NamedPhoto):
            stamp = stamps.get(photo.file) or stamps.setdefault(photo.file, _stamp(photo.file))
        else:
            stamp = _stamp(name)
        keys.append(hashlib.blake2b(json.dumps([name, *stamp]).encode(), digest_size=16).hexdigest())
    return keys


def _stamp(file: str) -> list[str | int]:
    """Absolute path, size, and times of change in nanoseconds: of the content, and of what is noted about the file."""
    path = os.path.abspath(file)  # noqa: PTH100  (links stay: what they lead to has its own size and times)
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # who opens it tells why
        return [path]
    return [path, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
