"""`mge evaluate`: accuracy, calibration and rejection of a trained mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mge.config import as_plain, check_choice, check_range, check_whole
from mge.data.records import Selection
from mge.errors import ConfigError
from mge.storage.hub import check_place, is_hub
from mge.storage.output import check_file, check_folder, is_stream

if TYPE_CHECKING:
    from mge.evaluation.fit_parameters import FitOptions
    from mge.report.results import EvaluationResult

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
) -> EvaluationResult:
    """Evaluate a mixture and its experts: accuracy, calibration, rejection; write an HTML report.

    Examples:
        mge evaluate runs/birds
        mge evaluate runs/birds other-photos --out figures.json

    Args:
        run: Run folder or model folder.
        data: Photos to evaluate on. Default: the data of the run, with the splits recorded at training time. Photos of
            other data that the model was trained on are excluded.
        split: Split to evaluate: `train`, `val`, `test`, `new` (photos added to the data since training) or `all`.
            Default: `test`; `all` for other data without splits.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths. Default: found by its name or type.
        label_column: Column of `data` with the class labels. Default: found by its name or type.
        out: JSON file for the results. Default: `evaluation-SPLIT.json` in the run folder.
        batch_size: Photos per batch.
        accelerator: Accelerator for Lightning Fabric: auto, cpu, cuda, mps.
        report: Write the HTML report and its tables to a folder next to the JSON file, with the same name.
        calibrate: Refit the softmax temperature on the validation photos and store it with the model. Training does
            this for new models.
        reject: Rejection threshold, stored with the model: photos with a lower top-1 probability are labelled
            `unknown`. `auto` fits it on the validation photos; a number sets it; `off` removes it.
        target_error: Error rate to allow among accepted photos, for `--reject auto`. Default: 0.05.
        unknown: Folder of photos of other things (out-of-distribution), to measure how well they are detected.
        cascade: Fit the early-exit thresholds on the validation photos and store them with the model, for `mge predict
            --cascade`.
        max_accuracy_loss: Expected accuracy loss that early exit may cost, in percentage points. Default: 0.2. 0
            disables early exits.

    Returns:
        The results, accuracies in percent: a dictionary with the data frames `predictions`, `probabilities`,
        `per_class` and `confusion`.

    Raises:
        ModelFolderError: `run` contains no complete model.
        DataError: the photos cannot be read, or have classes that the model does not know.
        ConfigError: an option has an invalid value, or a fit was requested without validation photos or for a Hub
            model.
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
            f"run is {str(run)!r}, but fitted parameters are stored with the model: download it and give its folder"
        )
    from mge.console.tables import print_evaluation  # noqa: PLC0415
    from mge.data.sources.columns import AskedColumns  # noqa: PLC0415
    from mge.evaluation.evaluation import evaluate_model  # noqa: PLC0415
    from mge.report.evaluation_report import write_report  # noqa: PLC0415
    from mge.report.results import EvaluationResult  # noqa: PLC0415

    evaluation = evaluate_model(
        Path(run), data=data, split=split, source_format=format, out=place,
        batch_size=batch_size, accelerator=accelerator, unknown=unknown,
        choices=_choices(calibrate, reject, target_error, max_accuracy_loss, cascade=cascade),
        columns=AskedColumns(image_column, label_column),
    )  # fmt: skip
    page = write_report(evaluation, Path(run)) if report else None
    print_evaluation(evaluation.figures, file=evaluation.file, model=Path(run), page=page)
    return EvaluationResult(evaluation)


def _choices(
    calibrate: bool, reject: Reject | float | None, target_error: float | None, max_accuracy_loss: float | None, *,
    cascade: bool,
) -> FitOptions:  # fmt: skip
    """Return the inference parameters to fit, with defaults for unset options."""
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
        raise ConfigError(
            f"out is {str(out)!r}, which has no place for a report next to it; give a file, or --no-report"
        )
    if report:
        from mge.report.evaluation_report import FILES, PAGE, folder_of_report  # noqa: PLC0415

        folder = check_folder(folder_of_report(place), flag="out", inputs=inputs, writes=(*FILES, PAGE))
        if any(Path(each).is_dir() and folder.resolve() == Path(each).resolve() for each in inputs):
            raise ConfigError(
                f"out is {str(out)!r}, but its report would be written among the photos in {folder}; give another name"
            )
    return place


def _check_cascade(cascade: bool, max_accuracy_loss: float | None) -> None:
    if max_accuracy_loss is not None:
        check_range("max_accuracy_loss", max_accuracy_loss, at_least=0, at_most=100)
        if not cascade:
            raise ConfigError(
                f"max_accuracy_loss is {max_accuracy_loss:g}, which applies to early exit only; add --cascade"
            )


def _check_reject(reject: Reject | float | None, target_error: float | None) -> None:
    if isinstance(reject, str):
        check_choice("reject", reject, get_args(Reject))
    elif reject is not None:
        check_range("reject", reject, at_least=0, at_most=1)
    if target_error is not None:
        check_range("target_error", target_error, at_least=0.001, at_most=0.999)
        if reject != "auto":
            raise ConfigError(f"target_error is {target_error:g}, which applies to --reject auto only; add it")
