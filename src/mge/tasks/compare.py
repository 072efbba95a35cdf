"""`mge compare`: paired comparison of several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mge.config import check_choice, check_whole
from mge.data.records import SPLITS, Split
from mge.storage.output import check_folder

if TYPE_CHECKING:
    from mge.evaluation.comparison import Comparison
    from mge.report.model_comparison import Difference
    from mge.report.results import ComparisonResult


def compare(
    runs: list[str],
    *,
    data: str | Path | None = None,
    split: Split = "test",
    format: str = "auto",  # noqa: A002  (the flag's name)
    image_column: str | None = None,
    label_column: str | None = None,
    ensemble: bool = False,
    output: str | Path = "comparison",
    resamples: int = 10_000,
    seed: int = 0,
    batch_size: int = 16,
    accelerator: str = "auto",
) -> ComparisonResult:
    """Compare runs on the same photos: accuracy with confidence intervals, paired tests, cost, disagreements.

    Examples:
        mge compare runs/a runs/b
        mge compare runs/a runs/a/plain --data photos

    Args:
        runs: Two or more run folders or model folders. The baselines inside a run, such as `RUN/plain`, count as runs
            too.
        data: Photos to compare on. Default: the data of the runs, which must be the same.
        split: Split to compare on: `train`, `val` or `test`.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths. Default: found by its name or type.
        label_column: Column of `data` with the class labels. Default: found by its name or type.
        ensemble: Also compare the ensemble of all runs (mean of their probabilities).
        output: Folder for comparison.json, differences.csv and differences.png.
        resamples: Number of bootstrap resamples for the confidence intervals.
        seed: Random seed of the bootstrap.
        batch_size: Photos per batch.
        accelerator: Accelerator for Lightning Fabric: auto, cpu, cuda, mps.

    Returns:
        The results, accuracies in percent: a dictionary with the data frames `runs` and `pairs`.

    Raises:
        ModelFolderError: a run contains no complete model.
        ConfigError: an option has an invalid value, or the runs have different classes.
        DataError: the photos cannot be read, or the runs were tested on different photos.
    """
    check_choice("split", split, SPLITS)
    seed = check_whole("seed", seed, at_least=0)
    resamples = check_whole("resamples", resamples, at_least=100)
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    folder = check_folder(
        output, flag="output", inputs=[] if data is None else [data],
        writes=("comparison.json", "differences.csv", "differences.png"), apart=True,
    )  # fmt: skip
    from mge.data.sources.columns import AskedColumns  # noqa: PLC0415
    from mge.evaluation.comparison import compare_models, measure_differences  # noqa: PLC0415
    from mge.report.model_comparison import differences_csv, draw_differences, print_comparison  # noqa: PLC0415
    from mge.report.results import ComparisonResult  # noqa: PLC0415
    from mge.storage.files import write_text_atomically  # noqa: PLC0415

    comparison = compare_models(
        [Path(run) for run in runs], data=data, split=split, source_format=format, batch_size=batch_size,
        accelerator=accelerator, with_ensemble=ensemble, columns=AskedColumns(image_column, label_column),
    )  # fmt: skip
    figures = {
        "data": comparison.data,
        "split": split,
        **measure_differences(comparison, num_resamples=resamples, seed=seed),
    }
    differences, names = _differences(comparison), [each.name for each in comparison.contestants]
    figures["num_different"] = len(differences)
    files = [folder / "differences.csv"]
    write_text_atomically(folder / "comparison.json", json.dumps(figures, indent=1) + "\n")
    write_text_atomically(files[0], differences_csv(differences, names))
    if differences:
        files.append(folder / "differences.png")
        draw_differences(differences, files[1], names=names)
    print_comparison(figures, files=files)
    return ComparisonResult(figures)


def _differences(comparison: Comparison) -> list[Difference]:
    """Return the photos for which the runs disagree, those with the largest disagreement first."""
    from mge.evaluation.comparison import telling_order  # noqa: PLC0415
    from mge.report.model_comparison import Difference  # noqa: PLC0415

    found = []
    for number in telling_order(comparison):
        answers = []
        for contestant in comparison.contestants:
            probs = contestant.probs[number]
            best = int(probs.argmax())
            of_truth = float(probs[int(comparison.labels[number])])
            answers.append((comparison.class_names[best], float(probs[best]), of_truth))
        found.append(Difference(comparison.records[number], answers))
    return found
