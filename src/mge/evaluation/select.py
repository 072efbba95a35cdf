"""Selection of the photos for evaluating a stored mixture and for fitting its inference parameters."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from mge.config import TrainConfig
from mge.data.check.broken import Broken, leave_out, list_broken
from mge.data.records import SPLITS, PhotoSet, Record, Selection
from mge.data.sources import check_is_path, find_photos, is_name, read_photos
from mge.data.sources.columns import BY_NAME, OPTIONS, AskedColumns
from mge.errors import ConfigError, DataError
from mge.evaluation.inspection import inspect
from mge.evaluation.known_photos import find_record, restore_splits
from mge.evaluation.recorded_photos import describe_photos
from mge.evaluation.seen_photos import leave_out_seen
from mge.inference.classifier import Classifier
from mge.storage.run_folder import Run, is_run, open_run


@dataclasses.dataclass(frozen=True)
class Selected:
    """Photos to evaluate on.

    Args:
        photos: The data that contain them.
        split: Their split, or `all`.
        is_own: Whether they belong to the data that the run was trained with.
        readable: The photos themselves.
        broken: Unreadable photos, which are left out.
        num_seen: Number of others left out, because the run was trained on them, or selected its model on them.
    """

    photos: PhotoSet
    split: Selection
    is_own: bool
    readable: tuple[Record, ...]
    broken: tuple[Broken, ...] = ()
    num_seen: int = 0

    @property
    def description(self) -> str:
        """Description of the photos for users."""
        name = self.photos.name
        if self.split == "new":
            return f"photos of {name} added since training"
        if self.split != "all":
            trained = ", which it was trained on" if self.is_own and self.split == "train" else ""
            return f"the {self.split} split of {name}{trained}"
        if self.is_own:
            return f"all photos of {name}, including the training photos"
        without = " (without splits)" if "test" in self.photos.held_out else ""
        seen = f", except {self.num_seen} used for training or model selection" if self.num_seen else ""
        return f"all photos of {name}{without}{seen}"


def select(
    path: Path, *, data: str | Path | None, split: Selection | None, source_format: str, classifier: Classifier,
    columns: AskedColumns = BY_NAME,
) -> Selected:  # fmt: skip
    """Read the photos to evaluate on, and leave out unreadable ones.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with.
        split: Split to use; None: the test split, or all photos of other data without splits of their own.
        source_format: Format of `data`.
        classifier: The model, which must know the classes by name.
        columns: The columns of `data` given by the user.

    Raises:
        ConfigError: `data` is missing and the folder does not know its own.
        DataError: there are no such photos, none can be read, or they have classes that the model does not know.
    """
    is_own = data is None or _is_own_data(path, data)
    wanted = None if is_own else data
    photos = read_held_out(path, data=wanted, source_format=source_format, classifier=classifier, columns=columns)
    chosen = split or ("all" if not is_own and "test" in photos.held_out else "test")
    num_before = len(photos.records)
    if not is_own:
        photos = leave_out_seen(path, photos, split=chosen, even_so=split in ("all", "train"))
    readable, broken = without_broken(photos, split=chosen)
    return Selected(photos, chosen, is_own, readable, broken, num_before - len(photos.records))


def read_held_out(
    path: Path, *, data: str | Path | None, source_format: str, classifier: Classifier, columns: AskedColumns = BY_NAME
) -> PhotoSet:
    """Read the photos to evaluate on, whose classes the model must know by name.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with, with their splits. Photos added since are in no split.
        source_format: Format of `data`.
        classifier: The model.
        columns: The columns of `data` given by the user.

    Raises:
        ConfigError: `data` is missing and the folder does not know its own, or knows its columns.
        ModelFolderError: the run's settings are damaged.
        DataError: there are no such photos, or they have classes that the model does not know.
    """
    if data is None:
        photos = _read_own(path, classifier=classifier, columns=columns)
    else:
        config = dataclasses.replace(classifier.data, image_column=columns.path, label_column=columns.label)
        photos = read_photos(data, config=config, format=source_format, is_for_training=False)
    unknown = sorted(set(photos.class_names) - set(classifier.class_names))
    if unknown:
        known = ", ".join(classifier.class_names[:5])
        raise DataError(
            f"{photos.name} has {len(unknown)} classes that the model was not trained on, the first is {unknown[0]!r}; "
            f"classes are matched by name; the model knows {known}, …"
        )
    return photos


def _read_own(path: Path, *, classifier: Classifier, columns: AskedColumns) -> PhotoSet:
    """Read the photos that the run was trained with, with their splits."""
    if not is_run(path):
        raise ConfigError(
            f"{str(path)!r} is a model folder without its run; give the data to evaluate on: mge evaluate "
            f"{quote(str(path))} DATA"
        )
    run = open_run(path)
    settings = run.config("format", "seed", "val_fraction", "test_fraction")
    check_not_asked(columns, run=run)
    options = ("val_fraction", "test_fraction", *OPTIONS.values())  # runs of older versions have no column names
    chosen: dict[str, Any] = {name: settings.get(name) for name in options}
    config = dataclasses.replace(classifier.data, **chosen)
    seed = TrainConfig(seed=settings["seed"]).seed  # checked
    record = find_record(path)
    photos = read_photos(
        run.data(), config=config, seed=seed, format=settings["format"], is_for_training=record is None
    )
    if record is None:
        return _note_without_record(photos, run=run)
    are_pinned = bool(photos.pinned) and photos.pinned == (record[0].origin() or {}).get("pinned")
    return restore_splits(photos, record[1], data=run.data(), class_names=classifier.class_names, are_pinned=are_pinned)


def _note_without_record(photos: PhotoSet, *, run: Run) -> PhotoSet:
    """Add a note if photos have changed since a training of an older version, which kept no record of them."""
    origin, now = run.whole.origin(), describe_photos(photos)
    if origin is not None and origin.get("sha256_of_names") == now["sha256_of_names"]:
        return photos
    note = (
        f"the run has no record of its photos, and {photos.name} has changed since training, so it is split again: "
        "training photos may be among the evaluated ones; new runs keep a record"
    )
    return dataclasses.replace(photos, notes=(*photos.notes, note))


def without_broken(photos: PhotoSet, *, split: Selection) -> tuple[tuple[Record, ...], tuple[Broken, ...]]:
    """Separate the photos of a split, or all photos, into readable and broken ones.

    Raises:
        DataError: the split is empty, or none of its photos can be read.
    """
    records = photos.select(split)
    if not records and split == "new":
        raise DataError(f"{photos.name} has no photos added since training; leave out --split new")
    if not records:
        others = [each for each in SPLITS if photos.split(each)]
        remedy = f"it has some in --split {' or '.join(others)}" if others else "give data that has some"
        raise DataError(f"{photos.name} has no photos in its {split} split; {remedy}")
    broken = list_broken(records, inspect(records, with_hashes=False))
    readable = leave_out(dataclasses.replace(photos, records=records), broken).records
    if not readable:
        raise DataError(
            f"none of the {len(records)} {split} photos of {photos.name} can be read; the first is {broken[0].path}, "
            f"which {broken[0].reason}; mge check lists them all"
        )
    return readable, broken


def select_validation(path: Path, selected: Selected, *, classifier: Classifier) -> tuple[Record, ...]:
    """Return the validation photos for fitting: the run's own, or those of the given data without a run.

    Raises:
        ConfigError: there are no validation photos.
    """
    photos = selected.photos
    if is_run(path) and not selected.is_own:
        photos = read_held_out(path, data=None, source_format="auto", classifier=classifier)
    elif not selected.is_own:
        photos = leave_out_seen(path, photos, split="val", uses=("train",))
    records = photos.split("val")
    if not records:
        raise ConfigError(
            f"{photos.name} has no validation photos, which are needed to fit thresholds and temperatures; train with "
            "--val-fraction above 0, or give a model folder and data with a val split"
        )
    return records


def select_unknown(folder: str | Path, *, label: str) -> tuple[Record, ...]:
    """Return the readable photos below a folder, which show objects outside the classes.

    Args:
        folder: The folder.
        label: Placeholder label, since a record needs a class; it is not used.

    Raises:
        DataError: none can be read.
    """
    records: Sequence[Record] = [Record(Path(file), label) for file in find_photos([str(folder)])]
    scans = inspect(records, with_hashes=False)
    readable = tuple(record for record, scan in zip(records, scans, strict=True) if not scan.error)
    if not readable:
        raise DataError(
            f"none of the {len(records)} photos of {str(folder)!r} can be read; run mge check for the reasons"
        )
    return readable


def check_not_asked(columns: AskedColumns, *, run: Run) -> None:
    """Raise ConfigError if columns are given for data whose columns the run knows."""
    if columns != BY_NAME:
        raise ConfigError(
            f"--image-column and --label-column apply to other data only, and the photos are those of {run}; leave "
            "them out"
        )


def _is_own_data(path: Path, data: str | Path) -> bool:
    """Return whether these are the data that the run was trained with."""
    check_is_path(data)
    if not is_run(path):
        return False
    own = str(open_run(path).config("data")["data"])
    if str(data) == own:
        return True
    return not is_name(own) and os.path.realpath(data) == os.path.realpath(own)
