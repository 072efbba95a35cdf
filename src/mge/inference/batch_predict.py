"""Batch prediction of any number of photos, stored continuously: a killed run resumes where it stopped."""

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
from mge.inference.prediction import Photo, Prediction, Predictions, name_of
from mge.inference.resumable_rows import Parts
from mge.inference.writers import ALL, Form, Row, print_rows, write_rows
from mge.storage.files import write_atomically

KEPT = 10_000  # most predictions that are also returned when written to a file
NAMED = 10  # unreadable photos that are listed by name
FAILED = "failed"  # in a row: the error of reading its photo

Ask = Callable[[Iterable[Photo]], Iterator[Prediction | DataError]]


@dataclasses.dataclass
class PredictionCounts:
    """Counts of the results.

    Args:
        num_classified: Number of photos with a prediction.
        num_looks: Number of experts that ran for them, in total.
        num_unknown: Number of them with the label `unknown`.
        reasons: Errors of the other photos.
    """

    num_classified: int = 0
    num_looks: int = 0
    num_unknown: int = 0
    reasons: list[str] = dataclasses.field(default_factory=list)

    def sift(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows with predictions, and count all rows."""
        for row in rows:
            if FAILED in row:
                self.reasons.append(row[FAILED])
            else:
                self.num_classified += 1
                self.num_looks += row["num_experts_run"]
                self.num_unknown += bool(row["reason"])
                yield row

    def report(self, *, num_experts: int | None) -> None:
        """Print how many photos are unknown and, with early exit, the mean number of experts that ran."""
        if self.num_unknown:
            sys.stderr.write(
                f"{self.num_unknown} of {self.num_classified} photos were rejected (unknown); --no-reject shows their "
                "classes\n"
            )
        if num_experts is not None and self.num_classified:
            mean = self.num_looks / self.num_classified
            sys.stderr.write(f"early exit: {mean:.2f} of {num_experts} experts per photo on average\n")

    def check(self) -> None:
        """Raise DataError if photos could not be read."""
        if self.reasons:
            raise DataError(
                f"{len(self.reasons)} of {len(self.reasons) + self.num_classified} photos could not be read (the "
                f"others were classified): {name_some(self.reasons)}"
            )


def make_rows(
    ask: Ask, photos: Sequence[Photo], *, top: int, kept: list[Prediction], is_quiet: bool, with_all: bool = False
) -> Iterator[Row]:
    """Classify photos, and show the progress.

    Args:
        ask: Classifies them, in order.
        photos: The photos.
        top: Number of the most probable classes in a row.
        kept: List that the predictions are appended to.
        is_quiet: Show nothing.
        with_all: Whether a row contains the probability of every class, too.

    Yields:
        A row for each photo, in order; for one that cannot be read, its error.
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
) -> Predictions:  # fmt: skip
    """Classify photos into a pipe or a device, row by row, without storing progress.

    Args:
        ask: Classifies some photos, in order.
        photos: All photos.
        out: Stream for the rows.
        form: Format of the rows.
        num_experts: Number of experts with columns in CSV.
        top: Number of the most probable classes in a row.
        counts: Counts of the results.
        with_all: Whether rows contain the probability of every class.

    Returns:
        The predictions, if there are at most 10,000 photos.
    """
    kept = Predictions()

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
) -> Predictions:  # fmt: skip
    """Classify photos into a file, which appears when it is complete.

    Progress is stored beside it continuously. If torchrun started several processes, each does its share, and the first
    writes the file.

    Args:
        ask: Classifies some photos, in order.
        photos: All photos.
        output: The file.
        plan: Everything besides the photos that determines the predictions: rows of another plan are discarded. Photos
            that have changed since, or have another name, are classified again.
        form: Format of the file.
        num_experts: Number of experts with columns in a CSV file.
        top: Number of the most probable classes in a row.
        counts: Counts of the results, in the first process.
        with_all: Whether a row contains the probability of every class, too.

    Returns:
        The predictions of this call and process, if there are at most 10,000 photos.
    """
    rank, num_processes = processes()
    plan, keys = {**plan, "top": top}, identify(photos)
    kept = Predictions()
    with Parts(output, plan=plan, keys=keys, rank=rank, num_processes=num_processes) as parts:
        if parts.done and rank == 0:
            sys.stderr.write(f"resuming: {len(parts.done):,} of {len(photos):,} photos are already classified\n")
        if parts.was_begun_otherwise:
            sys.stderr.write(f"{output} was started with another model or other options: starting over\n")
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
    """Join the first errors of photos that could not be read, and the number of the others."""
    more = [f"and {len(reasons) - NAMED:,} more"] if len(reasons) > NAMED else []
    return "; ".join([*reasons[:NAMED], *more])


def processes() -> tuple[int, int]:
    """Return the rank of this process and the number of processes, as given by torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def as_row(prediction: Prediction, *, top: int, with_all: bool = False) -> Row:
    """Convert a prediction to plain values."""
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
    """Return a unique key for each photo, which changes when the photo does.

    It is made of the name, location, size and modification time of its file, or of the larger file that contains it.
    """
    stamps: dict[str, list[str | int]] = {}  # of larger files, each computed once
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
    """Return absolute path, size, and times of the last change in nanoseconds, of the content and of the metadata."""
    path = os.path.abspath(file)  # noqa: PTH100  (links are kept: their target has its own size and times)
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # opening it reports the reason
        return [path]
    return [path, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
