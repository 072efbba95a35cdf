"""Measuring a stored mixture on photos."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.classifier import Classifier
from mge.data.batches import num_workers
from mge.data.broken import Broken, leave_out, list_broken
from mge.data.dataset import PhotoDataset
from mge.data.records import PhotoSet, Record, Split
from mge.data.sources import read_photos
from mge.errors import ConfigError, DataError
from mge.storage.files import write_atomically
from mge.storage.model_folder import load_model
from mge.storage.run_folder import find_model_folder, open_run
from mge.training.cascade import check_experts, choose_cascade, measure_cascade, store_cascade, trace_curve
from mge.training.inspection import inspect
from mge.training.measure import Answers, answer_photos, measure


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
    photos = _read(path, data=data, source_format=source_format, classifier=classifier)
    if not photos.split(split):
        raise DataError(f"{photos.name} has no photos in its {split} split; try --split train, val or test")
    readable, broken = _without_broken(photos, split=split)
    fabric = Fabric(accelerator=accelerator, devices=1)
    classifier.model.to(fabric.device)
    cascade: dict[str, Any] | None = stored.metadata.get("cascade")
    val_answers: Answers | None = None
    if max_accuracy_loss is not None:
        check_experts(stored.config)
        val_records = _validation_records(path, photos, is_own=data is None, classifier=classifier)
        _, val_answers = _ask(fabric, classifier, val_records, batch_size=batch_size)
        cascade = choose_cascade(val_answers, config=stored.config, max_accuracy_loss=max_accuracy_loss)
    dataset, answers = _ask(fabric, classifier, readable, batch_size=batch_size)
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


def _without_broken(photos: PhotoSet, *, split: Split) -> tuple[tuple[Record, ...], tuple[Broken, ...]]:
    """The photos of a split that can be read, and the others.

    Raises:
        DataError: none can be read.
    """
    records = photos.split(split)
    broken = list_broken(records, inspect(records, with_hashes=False))
    readable = leave_out(photos, broken).split(split)
    if not readable:
        raise DataError(
            f"none of the {len(records)} {split} photos of {photos.name} can be read; the first is {broken[0].path}, "
            f"which {broken[0].reason}; mge check lists them all"
        )
    return readable, broken


def _ask(
    fabric: Fabric, classifier: Classifier, records: tuple[Record, ...], *, batch_size: int
) -> tuple[PhotoDataset, Answers]:
    """What the mixture says about some photos."""
    dataset = PhotoDataset(records, classifier.class_names, side=classifier.side, config=classifier.data, train=False)
    workers = num_workers(classifier.data, dataset)
    return dataset, answer_photos(fabric, classifier.model, dataset, batch_size=batch_size, workers=workers)


def _validation_records(path: Path, photos: PhotoSet, *, is_own: bool, classifier: Classifier) -> tuple[Record, ...]:
    """The photos that choose thresholds: the run's own, or those of the given data where there is no run."""
    if not is_own and (path / "config.yaml").exists():
        photos = _read(path, data=None, source_format="auto", classifier=classifier)
    records = photos.split("val")
    if not records:
        raise ConfigError(
            f"{photos.name} has no validation photos, and a cascade's thresholds are chosen on them; train with "
            "--val-fraction above 0, or give a model folder and data with a val split"
        )
    return records


def _read(path: Path, *, data: str | Path | None, source_format: str, classifier: Classifier) -> PhotoSet:
    """The photos to measure on, whose classes the model must know by name."""
    if data is None:
        if not (path / "config.yaml").exists():
            raise ConfigError(
                f"{str(path)!r} is a model without its run; say which data to evaluate on: mge evaluate {path} DATA"
            )
        run = open_run(path)
        settings = run.config()
        data, source_format, seed = run.data(), settings["format"], settings["seed"]
        config = dataclasses.replace(
            classifier.data, val_fraction=settings["val_fraction"], test_fraction=settings["test_fraction"]
        )
        photos = read_photos(data, config=config, seed=seed, format=source_format)
    else:
        photos = read_photos(data, config=classifier.data, format=source_format, is_for_training=False)
    unknown = sorted(set(photos.class_names) - set(classifier.class_names))
    if unknown:
        known = ", ".join(classifier.class_names[:5])
        raise DataError(
            f"{photos.name} has {len(unknown)} classes that the model was not trained on, the first is {unknown[0]!r}; "
            f"classes are matched by name, and the model knows {known}, …"
        )
    return photos
