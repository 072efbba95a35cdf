"""Measuring a stored mixture on photos."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.classifier import Classifier
from mge.data.dataset import PhotoDataset
from mge.data.records import PhotoSet, Record, Split
from mge.errors import ConfigError
from mge.storage.files import write_atomically
from mge.storage.model_folder import load_model
from mge.storage.run_folder import find_model_folder
from mge.training.cascade import check_experts, choose_cascade, measure_cascade, store_cascade, trace_curve
from mge.training.held_out import ask, read_held_out, without_broken
from mge.training.measure import Answers, measure


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A mixture's answers about one split, and the figures made of them."""

    classifier: Classifier
    photos: PhotoDataset
    answers: Answers
    figures: dict[str, Any]
    file: Path
    notes: tuple[str, ...] = ()  # about the photos


def evaluate_model(
    path: Path, *, data: str | Path | None, split: Split, source_format: str, out: Path | None, batch_size: int,
    accelerator: str, max_accuracy_loss: float | None = None,
) -> Evaluation:  # fmt: skip
    """Measures the model of a run or model folder, and writes the figures as JSON.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with.
        split: Which split of them.
        source_format: How to read `data`.
        out: JSON file for the figures; None: beside the model.
        batch_size: Photos at a time.
        accelerator: Lightning Fabric's accelerator.
        max_accuracy_loss: Points that a cascade may lose on the run's validation photos, or on those of `data` where
            there is no run: its thresholds are chosen anew and stored with the model. None: they stay as they are.

    Raises:
        ModelFolderError: there is no whole model at `path`.
        ConfigError: `data` is missing and the folder does not know its own; or a cascade is asked for where there is
            only one expert, or no validation photos.
        DataError: there are no such photos, or they have classes that the model does not know.
    """
    folder = find_model_folder(path)
    stored = load_model(folder)
    classifier = Classifier.from_stored(stored)
    photos = read_held_out(path, data=data, source_format=source_format, classifier=classifier)
    readable, broken = without_broken(photos, split=split)
    fabric = Fabric(accelerator=accelerator, devices=1)
    classifier.model.to(fabric.device)
    cascade: dict[str, Any] | None = stored.metadata.get("cascade")
    val_answers: Answers | None = None
    if max_accuracy_loss is not None:
        check_experts(stored.config)
        val_records = _validation_records(path, photos, is_own=data is None, classifier=classifier)
        _, val_answers = ask(fabric, classifier, val_records, batch_size=batch_size)
        cascade = choose_cascade(val_answers, config=stored.config, max_accuracy_loss=max_accuracy_loss)
    dataset, answers = ask(fabric, classifier, readable, batch_size=batch_size)
    unread = {"num_broken": len(broken), "broken": [dataclasses.asdict(photo) for photo in broken]}
    figures = {"data": photos.name, "split": split, **unread, **measure(answers)}
    if cascade is not None:
        figures["cascade"] = cascade | measure_cascade(answers, cascade["thresholds"], config=stored.config)
    if cascade is not None and val_answers is not None:
        figures["cascade_curve"] = trace_curve(val_answers, answers, config=stored.config)
        store_cascade(folder, stored, cascade)
    file = out or path / f"evaluation-{split}.json"
    write_atomically(file, lambda target: target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8"))
    return Evaluation(classifier, dataset, answers, figures, file, photos.notes)


def _validation_records(path: Path, photos: PhotoSet, *, is_own: bool, classifier: Classifier) -> tuple[Record, ...]:
    """The photos that choose thresholds: the run's own, or those of the given data where there is no run."""
    if not is_own and (path / "config.yaml").exists():
        photos = read_held_out(path, data=None, source_format="auto", classifier=classifier)
    records = photos.split("val")
    if not records:
        raise ConfigError(
            f"{photos.name} has no validation photos, and a cascade's thresholds are chosen on them; train with "
            "--val-fraction above 0, or give a model folder and data with a val split"
        )
    return records
