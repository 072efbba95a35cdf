"""Which photos a student is trained and tested on: never tested on those that its teacher was trained on."""

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
    """Put a student's photos into the splits that its teacher had them in, where the data leave splits open.

    Args:
        fabric: Lightning Fabric; the first process looks, for all of them.
        photos: With the splits that the student's seed has chosen.
        run: The student's run. One that is gone on with is split as it was, and needs no teacher for that.
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
    """Raise ConfigError where the student would be tested on photos that its teacher was trained on.

    Args:
        fabric: Lightning Fabric; the first process looks, for all of them.
        photos: The student's.
        settings: Of the student's run.
        data: How its photos are split.
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
            f"the student would be tested on photos that its teacher was trained on, such as {trained_path}; give data "
            "whose test split the teacher has not seen, or data without splits, which are split as the teacher's were"
        )


def _find(run: Run, records: Sequence[Record], *, data: str) -> list[PhotoMatch]:
    """Find photos in a run's record, by their names too where the data are called as the run's are."""
    record = find_record(run.folder)
    assert record is not None
    names = name_photos(records, data=data) if data == record[0].data() else None
    return find_again(records, record[1], names=names)


def _check_by_seed(tested: Sequence[Record], *, settings: Mapping[str, Any], data: DataConfig, teacher: Run) -> None:
    """Do the same for a teacher of a former version, which kept no record: its seed says what was held out."""
    seed = teacher.config("seed")["seed"]
    if seed == settings["seed"]:
        return
    same = read_photos(settings["data"], config=data, seed=seed, format=settings["format"])
    trained = {record.path for record in same.split("train")}
    known = [record.path for record in tested if record.path in trained]
    if known:
        raise ConfigError(
            f"seed {settings['seed']} would test on photos that the teacher was trained on, with seed {seed}, such as "
            f"{known[0]}; leave out --seed, or give data that has its own test split"
        )
