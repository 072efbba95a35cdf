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
    accelerator: str,
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

    Raises:
        ModelFolderError: there is no whole model at `path`.
        ConfigError: `data` is missing and the folder does not know its own.
        DataError: there are no such photos, or they have classes that the model does not know.
    """
    stored = load_model(find_model_folder(path))
    classifier = Classifier.from_stored(stored)
    photos = _read(path, data=data, source_format=source_format, classifier=classifier)
    if not photos.split(split):
        raise DataError(f"{photos.name} has no photos in its {split} split; try --split train, val or test")
    readable, broken = _without_broken(photos, split=split)
    dataset = PhotoDataset(readable, classifier.class_names, side=classifier.side, config=classifier.data, train=False)
    fabric = Fabric(accelerator=accelerator, devices=1)
    workers = num_workers(classifier.data, dataset)
    answers = answer_photos(fabric, classifier.model.to(fabric.device), dataset, batch_size=batch_size, workers=workers)
    unread = {"num_broken": len(broken), "broken": [dataclasses.asdict(photo) for photo in broken]}
    figures = {"data": photos.name, "split": split, **unread, **measure(answers)}
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


def _read(path: Path, *, data: str | Path | None, source_format: str, classifier: Classifier) -> PhotoSet:
    """The photos to measure on, whose classes the model must know by name."""
    if data is None:
        if not (path / "config.yaml").exists():
            raise ConfigError(
                f"{str(path)!r} is a model without its run; say which data to evaluate on: mge evaluate {path} DATA"
            )
        settings = open_run(path).config()
        data, source_format, seed = settings["data"], settings["format"], settings["seed"]
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
