"""Which photos a stored mixture is measured on, and which choose for it."""

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
    """Photos to measure on.

    Args:
        photos: The data that they are of.
        split: The split that they are, or `all`.
        is_own: Whether they are of the data that the run was trained with.
        readable: The photos themselves.
        broken: Those that cannot be read, and are left out.
        num_seen: How many others were left out, because the run was trained on them, or chose its model on them.
    """

    photos: PhotoSet
    split: Selection
    is_own: bool
    readable: tuple[Record, ...]
    broken: tuple[Broken, ...] = ()
    num_seen: int = 0

    @property
    def description(self) -> str:
        """Which photos these are, for people."""
        name = self.photos.name
        if self.split == "new":
            return f"photos of {name} that were added since the training"
        if self.split != "all":
            trained = ", which it was trained on" if self.is_own and self.split == "train" else ""
            return f"the {self.split} split of {name}{trained}"
        if self.is_own:
            return f"all photos of {name}, those that it was trained on among them"
        without = ", which has no splits of its own" if "test" in self.photos.held_out else ""
        seen = f", but for {self.num_seen} that were trained on or chose the model" if self.num_seen else ""
        return f"all photos of {name}{without}{seen}"


def select(
    path: Path, *, data: str | Path | None, split: Selection | None, source_format: str, classifier: Classifier,
    columns: AskedColumns = BY_NAME,
) -> Selected:  # fmt: skip
    """Reads the photos to measure on, and leaves out those that cannot be read.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with.
        split: Which split of them; None: the test split, or all photos where other data have no splits of their own.
        source_format: How to read `data`.
        classifier: What is measured: it must know the classes by name.
        columns: The columns of `data` that a person named.

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
    """The photos to measure on, whose classes the model must know by name.

    Args:
        path: A run folder or a model folder.
        data: Photos; None: those that the run was trained with, split as they were then. Those that it did not have are
            in no split.
        source_format: How to read `data`.
        classifier: The model.
        columns: The columns of `data` that a person named.

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
            f"classes are matched by name, and the model knows {known}, …"
        )
    return photos


def _read_own(path: Path, *, classifier: Classifier, columns: AskedColumns) -> PhotoSet:
    """Reads the photos that the run was trained with, split as they were then."""
    if not is_run(path):
        raise ConfigError(
            f"{str(path)!r} is a model without its run; say which data to evaluate on: "
            f"mge evaluate {quote(str(path))} DATA"
        )
    run = open_run(path)
    settings = run.config("format", "seed", "val_fraction", "test_fraction")
    check_not_asked(columns, run=run)
    options = ("val_fraction", "test_fraction", *OPTIONS.values())  # runs of former versions named no columns
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
    """Adds a note where photos have changed since a training of a former version, which kept no record of them."""
    origin, now = run.whole.origin(), describe_photos(photos)
    if origin is not None and origin.get("sha256_of_names") == now["sha256_of_names"]:
        return photos
    note = (
        f"the run kept no record of its photos, so {photos.name} is split anew, and it is not what it was at the "
        "training: photos that were trained on may be among those that are measured; a new training keeps a record"
    )
    return dataclasses.replace(photos, notes=(*photos.notes, note))


def without_broken(photos: PhotoSet, *, split: Selection) -> tuple[tuple[Record, ...], tuple[Broken, ...]]:
    """The photos of a split, or all photos, that can be read, and the others.

    Raises:
        DataError: the split is empty, or none of its photos can be read.
    """
    records = photos.select(split)
    if not records and split == "new":
        raise DataError(f"{photos.name} has no photos that were added since the training; leave out --split new")
    if not records:
        others = [each for each in SPLITS if photos.split(each)]
        remedy = f"it has some in --split {' or '.join(others)}" if others else "give data that have some"
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
    """The photos that choose: the run's own, or those of the given data where there is no run.

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
            f"{photos.name} has no validation photos, and thresholds and temperatures are chosen on them; train with "
            "--val-fraction above 0, or give a model folder and data with a val split"
        )
    return records


def select_unknown(folder: str | Path, *, label: str) -> tuple[Record, ...]:
    """The photos below a folder that show other things than the classes; those that cannot be read are left out.

    Args:
        folder: The folder.
        label: What they are labelled, since a record needs a class; nothing looks at it.

    Raises:
        DataError: there is none that can be read.
    """
    records: Sequence[Record] = [Record(Path(file), label) for file in find_photos([str(folder)])]
    scans = inspect(records, with_hashes=False)
    readable = tuple(record for record, scan in zip(records, scans, strict=True) if not scan.error)
    if not readable:
        raise DataError(f"none of the {len(records)} photos of {str(folder)!r} can be read; mge check says why")
    return readable


def check_not_asked(columns: AskedColumns, *, run: Run) -> None:
    """Raise ConfigError where columns are named of data whose columns the run knows."""
    if columns != BY_NAME:
        raise ConfigError(
            f"columns are named, and the photos are those of {run}, which knows its columns; leave out --image-column "
            "and --label-column"
        )


def _is_own_data(path: Path, data: str | Path) -> bool:
    """Whether these are the data that the run was trained with."""
    check_is_path(data)
    if not is_run(path):
        return False
    own = str(open_run(path).config("data")["data"])
    if str(data) == own:
        return True
    return not is_name(own) and os.path.realpath(data) == os.path.realpath(own)
