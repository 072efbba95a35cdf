"""Evaluation of a stored mixture on photos."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.config import check_whole
from mge.data.dataset import PhotoDataset
from mge.data.records import Record, Selection
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.evaluation.early_exit import check_experts, trace_curve
from mge.evaluation.fit_parameters import FitOptions, fit_parameters, measure_fitted, store_parameters
from mge.evaluation.headline import describe_result, find_plain
from mge.evaluation.quality import measure_experts, measure_hierarchy, measure_intervals, measure_usual
from mge.evaluation.rejection import measure_unknown
from mge.evaluation.run_model import EvalOutputs, measure, predict_photos
from mge.evaluation.select import Selected, select, select_unknown, select_validation
from mge.inference.classifier import Classifier
from mge.inference.devices import one_device
from mge.inference.probabilities import calibrated
from mge.storage.fitted_parameters import read_least_probability, read_temperature
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.output import check_file, write_output
from mge.storage.run_folder import Run, find_model_folder, hold_model, is_run


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Outputs of a mixture for some photos, with the resulting metrics."""

    classifier: Classifier
    selected: Selected
    photos: PhotoDataset
    answers: EvalOutputs
    figures: dict[str, Any]
    file: Path


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A stored mixture on its device, ready for evaluation.

    Args:
        fabric: Lightning Fabric.
        folder: Its model folder.
        stored: The stored model.
        classifier: The network.
        batch_size: Photos at a time.
    """

    fabric: Fabric
    folder: Path
    stored: StoredModel
    classifier: Classifier
    batch_size: int

    @classmethod
    def open(cls, path: Path, *, batch_size: int, accelerator: str) -> "Evaluator":
        """Load the model of a run or model folder onto a device.

        Raises:
            ConfigError: the batch size is invalid.
            ModelFolderError: there is no complete model.
        """
        batch_size = check_whole("batch_size", batch_size, at_least=1)
        folder = find_model_folder(path)
        stored = load_model(folder)
        classifier = Classifier.from_stored(stored)
        fabric = one_device(accelerator)
        classifier.model.to(fabric.device)
        return cls(fabric, folder, stored, classifier, batch_size)

    def ask(self, records: Sequence[Record]) -> tuple[PhotoDataset, EvalOutputs]:
        """Run the mixture on some photos."""
        asked = self.classifier
        dataset = PhotoDataset(records, asked.class_names, side=asked.side, config=asked.data, train=False)
        answers = predict_photos(self.fabric, asked.model, dataset, batch_size=self.batch_size, verb="evaluating")
        return dataset, answers


def evaluate_model(
    path: Path, *, data: str | Path | None, split: Selection | None, source_format: str, out: Path | None,
    batch_size: int, accelerator: str, choices: FitOptions, unknown: str | Path | None = None,
    columns: AskedColumns = BY_NAME,
) -> Evaluation:  # fmt: skip
    """Evaluate the model of a run or model folder, and write the metrics as JSON.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with.
        split: Split of them to use; None: see `select`.
        source_format: Format of `data`.
        out: JSON file for the metrics; None: beside the model.
        batch_size: Photos at a time.
        accelerator: Lightning Fabric's accelerator.
        choices: Inference parameters to fit again on the run's validation photos, or on those of `data` without a run.
            They are stored with the model.
        unknown: A folder of photos of objects outside the classes.
        columns: The columns of `data` given by the user.

    Raises:
        ModelFolderError: there is no complete model at `path`.
        ConfigError: `data` is missing and the folder does not know its own; or a parameter cannot be fitted for this
            model, or on these photos.
        DataError: there are no such photos, or they have classes that the model does not know.
    """
    evaluator = Evaluator.open(path, batch_size=batch_size, accelerator=accelerator)
    selected = select(
        path, data=data, split=split, source_format=source_format, classifier=evaluator.classifier, columns=columns
    )
    name = selected.split if selected.is_own else f"{selected.photos.name}-{selected.split}"
    read = [record.path for record in selected.photos.records]
    file = check_file(out or path / f"evaluation-{name}.json", flag="out", inputs=read, streams=True)
    unknown_records = None if unknown is None else select_unknown(unknown, label=evaluator.classifier.class_names[0])
    plain = find_plain(path, selected)
    metadata, val_answers = _choose(path, evaluator, selected, choices)
    dataset, answers = evaluator.ask(selected.readable)
    unknown_answers = None if unknown_records is None else evaluator.ask(unknown_records)[1]
    stored = _store(evaluator, choices, metadata, val_answers)
    figures = {**_describe(selected), **_measure(evaluator, selected, answers, stored.metadata)}
    if val_answers is not None and choices.max_accuracy_loss is not None:
        figures["cascade_curve"] = trace_curve(val_answers, answers, config=stored.config)
    if unknown_answers is not None:
        figures["unknown"] = {"data": str(unknown), **_measure_unknown(answers, unknown_answers, stored.metadata)}
    if alarms := Run(path).summary().get("alarms") if is_run(path) else []:
        figures["alarms"] = alarms
    names = evaluator.classifier.class_names
    figures = {**describe_result(answers, figures, class_names=names, plain=plain), **figures}
    write_output(file, json.dumps(figures, indent=1) + "\n")
    classifier = Classifier.from_stored(stored)
    return Evaluation(classifier, selected, dataset, answers, figures, file)


def _choose(
    path: Path, evaluator: Evaluator, selected: Selected, choices: FitOptions
) -> tuple[dict[str, Any], EvalOutputs | None]:
    """Return the model's metadata with the fitted parameters, and the outputs used for fitting."""
    config = evaluator.stored.config
    if choices.max_accuracy_loss is not None:
        check_experts(config)
    if choices.is_any:
        with hold_model(evaluator.folder):  # what cannot be changed is refused before it is measured
            pass
    val_answers: EvalOutputs | None = None
    if choices.needs_photos:
        _, val_answers = evaluator.ask(select_validation(path, selected, classifier=evaluator.classifier))
    return fit_parameters(choices, evaluator.stored.metadata, val_answers, config=config), val_answers


def _store(
    evaluator: Evaluator, choices: FitOptions, metadata: dict[str, Any], val_answers: EvalOutputs | None
) -> StoredModel:
    """Store the fitted parameters, merged with those that other processes have stored in the meantime."""
    stored = evaluator.stored
    if not choices.is_any:
        return dataclasses.replace(stored, metadata=metadata)
    again = functools.partial(fit_parameters, choices, val_answers=val_answers, config=stored.config)
    return store_parameters(evaluator.folder, stored, metadata, again=again)


def _describe(selected: Selected) -> dict[str, Any]:
    """Describe the photos of the evaluation."""
    return {
        "data": selected.photos.name,
        "split": selected.split,
        "measured": selected.description,
        "notes": list(selected.photos.notes),
        "num_broken": len(selected.broken),
        "broken": [dataclasses.asdict(photo) for photo in selected.broken],
    }


def _measure(
    evaluator: Evaluator, selected: Selected, answers: EvalOutputs, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Compute all metrics of one mixture's outputs."""
    figures = {**measure(answers), **measure_intervals(answers), **measure_usual(answers), **measure_experts(answers)}
    figures |= measure_fitted(metadata, answers, config=evaluator.stored.config)
    names, parents = evaluator.classifier.class_names, selected.photos.parents
    hierarchy = measure_hierarchy(answers, class_names=names, parents=parents)
    return {**figures, "hierarchy": hierarchy} if hierarchy else figures


def _measure_unknown(answers: EvalOutputs, unknown: EvalOutputs, metadata: dict[str, Any]) -> dict[str, Any]:
    """Measure how well confidence separates unknown objects from the classes."""
    temperature = read_temperature(metadata)
    known, others = (calibrated(each.logits, temperature=temperature).amax(1) for each in (answers, unknown))
    return measure_unknown(known, others, threshold=read_least_probability(metadata))
