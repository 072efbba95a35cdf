"""Comparison of several stored mixtures on the same photos."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mge.console.tables import print_notes
from mge.data.records import Record, Split
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.errors import ConfigError, DataError
from mge.evaluation.evaluation import Evaluator
from mge.evaluation.flops import Cost, count_cost
from mge.evaluation.seen_photos import leave_out_seen
from mge.evaluation.select import read_held_out, without_broken
from mge.evaluation.significance import bootstrap_means, compare_hits, percentile_interval
from mge.storage.run_folder import is_run

ENSEMBLE = "ensemble"
MAX_RUNS = 20


class ComparedModel(NamedTuple):
    """A classifier and its outputs."""

    name: str
    probs: Tensor  # (N, C)
    cost: Cost


class Comparison(NamedTuple):
    """Outputs of several classifiers for the same N photos."""

    data: str
    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    labels: Tensor  # (N,)
    contestants: tuple[ComparedModel, ...]


class _RunOutputs(NamedTuple):
    """Outputs of one run for its test photos."""

    data: str
    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    probs: Tensor  # (N, C)
    cost: Cost


def compare_models(
    paths: Sequence[Path], *, data: str | Path | None, split: Split, source_format: str, batch_size: int,
    accelerator: str, with_ensemble: bool, columns: AskedColumns = BY_NAME,
) -> Comparison:  # fmt: skip
    """Run all models on the same photos.

    Args:
        paths: Run folders or model folders.
        data: Photos; None: those that each run was trained with, which must be the same.
        split: Split of them to use.
        source_format: Format of `data`.
        batch_size: Photos at a time.
        accelerator: Lightning Fabric's accelerator.
        with_ensemble: Whether to include the mean of all runs' probabilities.
        columns: The columns of `data` given by the user.

    Raises:
        ConfigError: there are fewer than two different runs, or they have different classes.
        DataError: they were tested on different photos.
    """
    _check_different(paths)
    asked: list[_RunOutputs] = []
    for path in paths:
        evaluator = Evaluator.open(path, batch_size=batch_size, accelerator=accelerator)
        one = _predict(
            evaluator, path, data=data, split=split, source_format=source_format, paths=paths, columns=columns
        )
        asked.append(_aligned(one, asked[0], path=path, previous=paths[0]) if asked else one)
    first = asked[0]
    names = short_names(paths)
    contestants = [ComparedModel(name, one.probs, one.cost) for name, one in zip(names, asked, strict=True)]
    if with_ensemble:
        mean = torch.stack([one.probs for one in asked]).mean(0)
        contestants.append(
            ComparedModel(ENSEMBLE, mean, Cost(*map(sum, zip(*(one.cost for one in asked), strict=True))))
        )
    numbers = {name: number for number, name in enumerate(first.class_names)}
    labels = torch.tensor([numbers[record.label] for record in first.records])
    return Comparison(first.data, first.class_names, first.records, labels, tuple(contestants))


def measure_differences(comparison: Comparison, *, num_resamples: int, seed: int) -> dict[str, Any]:
    """Compute accuracies in percent with their 95 % intervals, and each pair's difference with its own."""
    hits = torch.stack([each.probs.argmax(1) == comparison.labels for each in comparison.contestants]).double()
    pairs = list(combinations(range(len(hits)), 2))
    differences = torch.stack([hits[second] - hits[first] for first, second in pairs])
    rows = 100 * torch.cat((hits, differences))
    intervals = percentile_interval(bootstrap_means(rows, num_resamples=num_resamples, seed=seed)).tolist()
    means = rows.mean(1).tolist()
    names = [each.name for each in comparison.contestants]
    return {
        "num_photos": len(comparison.labels),
        "resamples": num_resamples,
        "seed": seed,
        "runs": [
            {"name": each.name, "top1": round(means[at], 2), "interval": _rounded(intervals[at]), **each.cost._asdict()}
            for at, each in enumerate(comparison.contestants)
        ],
        "pairs": [
            {
                "first": names[first], "second": names[second], "difference": round(means[at], 2),
                "interval": _rounded(intervals[at]), **_test(hits[first], hits[second]),
            }
            for at, (first, second) in enumerate(pairs, start=len(hits))
        ],
    }  # fmt: skip


def telling_order(comparison: Comparison) -> list[int]:
    """Return the indices of the photos with differing predictions, those with the largest disagreement first.

    The disagreement is the range of the classifiers' probabilities of the true class.
    """
    answers = torch.stack([each.probs.argmax(1) for each in comparison.contestants])
    of_truth = torch.stack([each.probs.gather(1, comparison.labels[:, None])[:, 0] for each in comparison.contestants])
    stake = of_truth.amax(0) - of_truth.amin(0)
    differ = (answers != answers[0]).any(0)
    order: list[int] = stake.argsort(descending=True, stable=True).tolist()
    return [number for number in order if differ[number]]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return short unique names of the runs: their paths below their common parent folder."""
    absolute = [path.resolve() for path in paths]
    above = os.path.commonpath([path.parent for path in absolute])
    return [path.relative_to(above).as_posix() for path in absolute]


def _check_different(paths: Sequence[Path]) -> None:
    different = {path.resolve() for path in paths}
    if len(different) < len(paths) or not 2 <= len(paths) <= MAX_RUNS:
        given = ", ".join(str(path) for path in paths) or "none"
        raise ConfigError(f"runs is {given}; accepted: 2 to {MAX_RUNS} runs, each once: mge compare RUN OTHER_RUN")


def _predict(
    evaluator: Evaluator,
    path: Path,
    *,
    data: str | Path | None,
    split: Split,
    source_format: str,
    paths: Sequence[Path],
    columns: AskedColumns,
) -> _RunOutputs:
    classifier = evaluator.classifier
    if data is None and not is_run(path):
        raise ConfigError(
            f"{str(path)!r} is a model folder without its run; choose the photos to compare on with --data"
        )
    photos = read_held_out(path, data=data, source_format=source_format, classifier=classifier, columns=columns)
    for each in paths if data is not None else ():  # each has been trained on other photos
        photos = leave_out_seen(each, photos, split=split, even_so=split == "train")
    if path == paths[0]:
        print_notes(photos.notes)
    records, _ = without_broken(photos, split=split)
    _, answers = evaluator.ask(records)
    probs = classifier.probabilities(answers.logits)
    return _RunOutputs(photos.name, classifier.class_names, records, probs, count_cost(classifier.model))


def _aligned(one: _RunOutputs, other: _RunOutputs, *, path: Path, previous: Path) -> _RunOutputs:
    """Reorder the outputs of one run to the photos and classes of another.

    Raises:
        ConfigError: their classes differ.
        DataError: their photos differ.
    """
    only = sorted(set(one.class_names) ^ set(other.class_names))
    if only:
        raise ConfigError(
            f"{path} has {len(one.class_names)} classes and {previous} {len(other.class_names)}; {only[0]!r} and "
            f"{len(only) - 1} more exist in only one of them; compare runs with the same classes"
        )
    rows = {str(record.path): row for row, record in enumerate(one.records)}
    wanted = [str(record.path) for record in other.records]
    if rows.keys() != set(wanted):
        common = len(rows.keys() & set(wanted))
        raise DataError(
            f"{path} was tested on {len(rows)} photos and {previous} on {len(wanted)}, of which {common} are the same; "
            "choose the photos to compare on with --data: photos that none of the runs was trained on"
        )
    columns = [one.class_names.index(name) for name in other.class_names]
    return other._replace(probs=one.probs[[rows[photo] for photo in wanted]][:, columns], cost=one.cost)


def _test(first: Tensor, second: Tensor) -> dict[str, Any]:
    """Test the difference of two classifiers on the photos that only one of them gets right."""
    test = compare_hits((first > 0).tolist(), (second > 0).tolist())
    return {**test._asdict(), "p_value": float(f"{test.p_value:.3g}")}


def _rounded(interval: Sequence[float]) -> list[float]:
    return [round(end, 2) for end in interval]
