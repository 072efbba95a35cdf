"""`mge evaluate`: how good every part of a trained mixture is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from mge.config import check_choice

SplitName = Literal["train", "val", "test"]


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: SplitName = "test",
    format: str = "auto",  # noqa: A002  (the flag's name)
    out: str | Path | None = None,
    batch_size: int = 16,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Measures the accuracy of every expert and head, of the mixture, of the plain mean and of an oracle.

    Args:
        run: A run folder or a model folder.
        data: Photos to measure on. By default the run's own data.
        split: Which of their splits: `train`, `val` or `test`.
        format: How to read `data`: `auto`, or the name of a reader.
        out: JSON file to write the figures to. By default `evaluation-SPLIT.json` in the run folder.
        batch_size: Photos at a time.
        accelerator: Lightning Fabric's accelerator: auto, cpu, cuda, mps.

    Returns:
        The figures, accuracies in percent.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        DataError: the photos cannot be read, or have classes that the model does not know.
    """
    check_choice("split", split, get_args(SplitName))
    from mge.report.tables import print_evaluation, print_notes  # noqa: PLC0415
    from mge.training.evaluation import evaluate_model  # noqa: PLC0415

    evaluation = evaluate_model(
        Path(run), data=data, split=split, source_format=format, out=None if out is None else Path(out),
        batch_size=batch_size, accelerator=accelerator,
    )  # fmt: skip
    print_notes(evaluation.notes)
    print_evaluation(evaluation.figures, file=evaluation.file, model=Path(run))
    return evaluation.figures
