"""`mge evaluate`: how good every part of a trained mixture is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mge.config import as_plain, check_choice, check_range, check_whole
from mge.data.records import Selection
from mge.errors import ConfigError
from mge.storage.hub import check_place, is_hub
from mge.storage.output import check_file, check_folder, is_stream

if TYPE_CHECKING:
    from mge.evaluation.fit_parameters import FitOptions

Reject = Literal["auto", "off"]


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: Selection | None = None,
    format: str = "auto",  # noqa: A002  (the flag's name)
    image_column: str | None = None,
    label_column: str | None = None,
    out: str | Path | None = None,
    batch_size: int = 16,
    accelerator: str = "auto",
    report: bool = True,
    calibrate: bool = False,
    reject: Reject | float | None = None,
    target_error: float | None = None,
    unknown: str | Path | None = None,
    cascade: bool = False,
    max_accuracy_loss: float | None = None,
) -> dict[str, Any]:
    """Measures every expert and head of a mixture, how far its probabilities can be trusted, and writes a report.

    Args:
        run: A run folder or a model folder.
        data: Photos to measure on. By default the run's own data, split as they were when it was trained: the run keeps
            a record of its photos. Of other data, photos that it was trained on are left out.
        split: Which of their splits: `train`, `val`, `test`, `new` (added to the run's own data since) or `all`. By
            default `test`; of other data than the run's own that have no splits, `all`.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths; by default found by its name or type.
        label_column: Column of `data` with the classes; by default found by its name or type.
        out: JSON file to write the figures to. By default `evaluation-SPLIT.json` in the run folder.
        batch_size: Photos at a time.
        accelerator: Lightning Fabric's accelerator: auto, cpu, cuda, mps.
        report: Whether to write report.html and its tables, into a folder beside the figures that is called like them.
        calibrate: Whether to fit anew, on the run's validation photos, the temperature that makes probabilities mean
            what they say, and to store it with the model. Training does it for new models.
        reject: `auto` chooses on the run's validation photos how probable a class must be for a photo not to be called
            unknown, and stores that with the model; a number is that probability; `off` takes it away again.
        target_error: Share of the accepted photos that may be wrong, for `--reject auto`. By default 0.05.
        unknown: Folder of photos that show other things than the classes: how well are they told apart?
        cascade: Whether to choose anew, on the run's validation photos, how sure the first experts must be for the
            later ones not to look, and to store that with the model. `mge predict --cascade` uses it.
        max_accuracy_loss: Points of accuracy that the cascade may lose, on average over photos like these; with 0 no
            photo leaves early. By default 0.2.

    Returns:
        The figures, accuracies in percent.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        DataError: the photos cannot be read, or have classes that the model does not know.
        ConfigError: an option has a value that it cannot take, or there is nothing to choose something for or on.
    """
    if split is not None:
        check_choice("split", split, get_args(Selection))
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    reject, target_error, max_accuracy_loss = map(as_plain, (reject, target_error, max_accuracy_loss))
    _check_cascade(cascade, max_accuracy_loss)
    _check_reject(reject, target_error)
    check_place(run, out, flag="--out")
    place = None if out is None else _check_out(out, inputs=[each for each in (data, unknown) if each], report=report)
    if is_hub(run) and (calibrate or cascade or reject is not None):
        raise ConfigError(
            f"run is {str(run)!r}, and what is chosen is stored with the model: download it, and give its folder"
        )
    from mge.console.tables import print_evaluation, print_notes  # noqa: PLC0415
    from mge.data.sources.columns import AskedColumns  # noqa: PLC0415
    from mge.evaluation.evaluation import evaluate_model  # noqa: PLC0415
    from mge.report.evaluation_report import write_report  # noqa: PLC0415

    evaluation = evaluate_model(
        Path(run), data=data, split=split, source_format=format, out=place,
        batch_size=batch_size, accelerator=accelerator, unknown=unknown,
        choices=_choices(calibrate, reject, target_error, max_accuracy_loss, cascade=cascade),
        columns=AskedColumns(image_column, label_column),
    )  # fmt: skip
    page = write_report(evaluation, Path(run)) if report else None
    print_notes(evaluation.selected.photos.notes)
    print_evaluation(evaluation.figures, file=evaluation.file, model=Path(run), page=page)
    return evaluation.figures


def _choices(
    calibrate: bool, reject: Reject | float | None, target_error: float | None, max_accuracy_loss: float | None, *,
    cascade: bool,
) -> FitOptions:  # fmt: skip
    """What is to be chosen, with what holds where nothing was said."""
    from mge.evaluation.early_exit import MAX_ACCURACY_LOSS  # noqa: PLC0415
    from mge.evaluation.fit_parameters import FitOptions  # noqa: PLC0415
    from mge.evaluation.rejection import TARGET_ERROR  # noqa: PLC0415

    allowed = MAX_ACCURACY_LOSS if max_accuracy_loss is None else max_accuracy_loss
    target = TARGET_ERROR if target_error is None else target_error
    return FitOptions(allowed if cascade else None, calibrate=calibrate, reject=reject, target_error=target)


def _check_out(out: str | Path, *, inputs: list[str | Path], report: bool) -> Path:
    """Return where the figures are written; the report's folder lies beside them."""
    place = check_file(out, flag="out", inputs=inputs, streams=True)
    if report and is_stream(place):
        raise ConfigError(f"out is {str(out)!r}, which has no room for a report beside it; give a file, or --no-report")
    if report:
        from mge.report.evaluation_report import FILES, PAGE, folder_of_report  # noqa: PLC0415

        folder = check_folder(folder_of_report(place), flag="out", inputs=inputs, writes=(*FILES, PAGE))
        if any(Path(each).is_dir() and folder.resolve() == Path(each).resolve() for each in inputs):
            raise ConfigError(f"out is {str(out)!r}, and its report would go among the photos in {folder}; rename it")
    return place


def _check_cascade(cascade: bool, max_accuracy_loss: float | None) -> None:
    if max_accuracy_loss is not None:
        check_range("max_accuracy_loss", max_accuracy_loss, at_least=0, at_most=100)
        if not cascade:
            raise ConfigError(f"max_accuracy_loss is {max_accuracy_loss:g}, which only a cascade has; add --cascade")


def _check_reject(reject: Reject | float | None, target_error: float | None) -> None:
    if isinstance(reject, str):
        check_choice("reject", reject, get_args(Reject))
    elif reject is not None:
        check_range("reject", reject, at_least=0, at_most=1)
    if target_error is not None:
        check_range("target_error", target_error, at_least=0.001, at_most=0.999)
        if reject != "auto":
            raise ConfigError(f"target_error is {target_error:g}, which --reject auto keeps; add it")
