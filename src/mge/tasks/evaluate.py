"""`mge evaluate`: how good every part of a trained mixture is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from mge.config import check_choice, check_range
from mge.errors import ConfigError

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
    cascade: bool = False,
    max_accuracy_loss: float | None = None,
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
        cascade: Whether to choose anew, on the run's validation photos, how sure the first experts must be for the
            later ones not to look, and to store that with the model. `mge predict --cascade` uses it.
        max_accuracy_loss: Points of accuracy that the cascade may lose there. By default 0.2.

    Returns:
        The figures, accuracies in percent.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        DataError: the photos cannot be read, or have classes that the model does not know.
        ConfigError: an option has a value that it cannot take, or there is nothing to choose a cascade for or on.
    """
    check_choice("split", split, get_args(SplitName))
    if max_accuracy_loss is not None:
        check_range("max_accuracy_loss", max_accuracy_loss, at_least=0, at_most=100)
        if not cascade:
            raise ConfigError(f"max_accuracy_loss is {max_accuracy_loss:g}, which only a cascade has; add --cascade")
    from mge.report.tables import print_evaluation, print_notes  # noqa: PLC0415
    from mge.training.cascade import MAX_ACCURACY_LOSS  # noqa: PLC0415
    from mge.training.evaluation import evaluate_model  # noqa: PLC0415

    allowed = MAX_ACCURACY_LOSS if max_accuracy_loss is None else max_accuracy_loss
    evaluation = evaluate_model(
        Path(run), data=data, split=split, source_format=format, out=None if out is None else Path(out),
        batch_size=batch_size, accelerator=accelerator, max_accuracy_loss=allowed if cascade else None,
    )  # fmt: skip
    print_notes(evaluation.notes)
    print_evaluation(evaluation.figures, file=evaluation.file, model=Path(run))
    return evaluation.figures
