"""The photos that a stored mixture is measured on, and what it answers about them."""

import dataclasses
from pathlib import Path
from typing import Literal

from lightning_fabric import Fabric

from mge.classifier import Classifier
from mge.data.batches import num_workers
from mge.data.broken import Broken, leave_out, list_broken
from mge.data.dataset import PhotoDataset
from mge.data.records import PhotoSet, Record
from mge.data.sources import read_photos
from mge.errors import ConfigError, DataError
from mge.storage.run_folder import open_run
from mge.training.inspection import inspect
from mge.training.measure import Answers, answer_photos

Selection = Literal["train", "val", "test", "all"]  # a split, or all of them


def read_held_out(path: Path, *, data: str | Path | None, source_format: str, classifier: Classifier) -> PhotoSet:
    """The photos to measure on, whose classes the model must know by name.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with, split as they were then.
        source_format: How to read `data`.
        classifier: The model.

    Raises:
        ConfigError: `data` is missing and the folder does not know its own.
        DataError: there are no such photos, or they have classes that the model does not know.
    """
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


def without_broken(photos: PhotoSet, *, split: Selection) -> tuple[tuple[Record, ...], tuple[Broken, ...]]:
    """The photos of a split, or all photos, that can be read, and the others.

    Raises:
        DataError: the split is empty, or none of its photos can be read.
    """
    records = photos.records if split == "all" else photos.split(split)
    if not records:
        raise DataError(f"{photos.name} has no photos in its {split} split; try --split train, val or test")
    broken = list_broken(records, inspect(records, with_hashes=False))
    readable = leave_out(dataclasses.replace(photos, records=records), broken).records
    if not readable:
        raise DataError(
            f"none of the {len(records)} {split} photos of {photos.name} can be read; the first is {broken[0].path}, "
            f"which {broken[0].reason}; mge check lists them all"
        )
    return readable, broken


def ask(
    fabric: Fabric, classifier: Classifier, records: tuple[Record, ...], *, batch_size: int
) -> tuple[PhotoDataset, Answers]:
    """What the mixture says about some photos."""
    dataset = PhotoDataset(records, classifier.class_names, side=classifier.side, config=classifier.data, train=False)
    workers = num_workers(classifier.data, dataset)
    return dataset, answer_photos(fabric, classifier.model, dataset, batch_size=batch_size, workers=workers)
