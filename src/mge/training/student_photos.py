"""Photos for training and testing a student: never tested on its teacher's training photos."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.config import DataConfig
from mge.data.records import PhotoSet, Record, Split, check_photos
from mge.data.sources import read_photos
from mge.errors import ConfigError
from mge.evaluation.known_photos import PhotoMatch, find_again, find_record
from mge.evaluation.recorded_photos import name_photos
from mge.storage.run_folder import Run, is_run


def split_as_teacher(fabric: Fabric, photos: PhotoSet, *, run: Run, teacher: Path) -> PhotoSet:
    """Assign a student's photos to its teacher's splits, where the data have none of their own.

    Args:
        fabric: Lightning Fabric; the first process reads, for all of them.
        photos: The photos, with splits chosen by the student's seed.
        run: The student's run. A resumed run keeps its splits, and does not need the teacher for that.
        teacher: The teacher's run folder.

    Raises:
        DataError: a class has no training photos then.
    """
    known_to = run.folder if is_run(run.folder) and find_record(run.folder) else teacher
    if "val" not in photos.held_out or find_record(known_to) is None:
        return photos
    may_move = set(photos.held_out) | {"train"}
    numbers = [number for number, record in enumerate(photos.records) if record.split in may_move]
    splits: list[Split | None] = []
    if fabric.is_global_zero:
        found = _find(Run(known_to), [photos.records[number] for number in numbers], data=run.data())
        splits = [each.known.split if each.known is not None else None for each in found]
    records = list(photos.records)
    for number, split in zip(numbers, fabric.broadcast(splits), strict=True):
        if split in may_move and split != records[number].split:
            records[number] = dataclasses.replace(records[number], split=split)
    taught = dataclasses.replace(photos, records=tuple(records))
    check_photos(taught)
    return taught


def check_held_out(
    fabric: Fabric, photos: PhotoSet, *, settings: Mapping[str, Any], data: DataConfig, teacher: Run
) -> None:
    """Raise ConfigError if the student would be tested on photos that its teacher was trained on.

    Args:
        fabric: Lightning Fabric; the first process reads, for all of them.
        photos: The student's photos.
        settings: Settings of the student's run.
        data: Data options, including the splits.
        teacher: The teacher's run.
    """
    tested = photos.split("test") or photos.split("val")
    if find_record(teacher.folder) is None:
        _check_by_seed(tested, settings=settings, data=data, teacher=teacher)
        return
    trained: Record | None = None
    if fabric.is_global_zero:
        found = _find(teacher, tested, data=settings["data"])
        pairs = zip(tested, found, strict=True)
        trained = next((record for record, each in pairs if each.known and each.known.split == "train"), None)
    trained_path = fabric.broadcast(None if trained is None else str(trained.path))
    if trained_path is not None:
        raise ConfigError(
            f"the student would be tested on training photos of its teacher, such as {trained_path}; give data whose "
            "test split the teacher has not seen, or data without splits, which is split like the teacher's"
        )


def _find(run: Run, records: Sequence[Record], *, data: str) -> list[PhotoMatch]:
    """Find photos in a run's record, also by their names if the data are the run's."""
    record = find_record(run.folder)
    assert record is not None
    names = name_photos(records, data=data) if data == record[0].data() else None
    return find_again(records, record[1], names=names)


def _check_by_seed(tested: Sequence[Record], *, settings: Mapping[str, Any], data: DataConfig, teacher: Run) -> None:
    """Check a teacher of an older version, without a record of its photos, by its seed."""
    seed = teacher.config("seed")["seed"]
    if seed == settings["seed"]:
        return
    same = read_photos(settings["data"], config=data, seed=seed, format=settings["format"])
    trained = {record.path for record in same.split("train")}
    known = [record.path for record in tested if record.path in trained]
    if known:
        raise ConfigError(
            f"seed {settings['seed']} would test on training photos of the teacher (seed {seed}), such as {known[0]}; "
            "leave out --seed, or give data with a test split"
        )
