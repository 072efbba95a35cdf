"""Records of photos before any of them is opened: labels, splits, groups."""

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

from mge.config import DataConfig
from mge.errors import DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Selection = Literal[Split, "new", "all"]  # a split, photos that a run has in none of them, or all
Item = TypeVar("Item")
Unit = tuple[str, str]  # a group, or the path of a photo without one


@dataclasses.dataclass(frozen=True)
class Record:
    """A photo.

    Args:
        path: Its path; for a photo that is not a file of its own, its name for users.
        label: Name of its class.
        split: Its split; None until `assign_splits` has decided, and for photos that a run did not have.
        box_xyxy: Box of the object, in the photo's pixels as displayed, end-exclusive; None if unknown.
        group: Group of photos of the same object, which stay in one split; empty for none.
        read: Returns the bytes of a photo that is not a file of its own, such as a row of a table. It must be
            picklable.
    """

    path: Path
    label: str
    split: Split | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    group: str = ""
    read: Callable[[], bytes] | None = None

    @property
    def content(self) -> Path | bytes:
        """The argument for `open_photo`."""
        return self.path if self.read is None else self.read()


@dataclasses.dataclass(frozen=True)
class PhotoSet:
    """Photos with their labels and splits.

    Args:
        name: Name of the data.
        source: Reader of the data.
        class_names: The classes, in the order of the logits.
        records: The photos.
        parents: The parent of each class, if the data has a hierarchy; a parent may have a parent too. A class that is
            a parent itself, as `Banana` is among groceries, has no entry.
        held_out: The splits missing from the data, whose photos `assign_splits` chose.
        notes: Notes for users before training: one sentence each.
        pinned: Immutable name of exactly these photos if `data` names the newest ones; empty if it is the same.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    parents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    held_out: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()
    pinned: str = ""

    def split(self, name: Split) -> tuple[Record, ...]:
        """Return the photos of one split."""
        return tuple(record for record in self.records if record.split == name)

    def select(self, name: Selection) -> tuple[Record, ...]:
        """Return the photos of one split, those of none, or all."""
        if name == "all":
            return self.records
        return tuple(record for record in self.records if record.split == (None if name == "new" else name))


def assign_splits(photos: PhotoSet, *, config: DataConfig, seed: int) -> PhotoSet:
    """Hold out photos of each class for testing and validation if the data has no such splits.

    Photos of one group go into one split: groups are held out whole, and the fractions are fractions of each class's
    groups. A photo without a group is a group by itself. At least one group of each class stays for training. A group
    with photos of several classes is one of each of them, and is held out only if none of them has reached its
    fraction: such a class may have less held out than requested, never more.

    The choice depends on the seed, the groups and the photos' paths, not on the order in which a disk lists them.
    """
    has_splits = any(record.split for record in photos.records)
    records = list(photos.records)
    held_out: tuple[Split, ...] = () if has_splits else ("test",)
    if not has_splits:
        records = _hold_out(records, source=None, target="test", fraction=config.test_fraction, seed=seed)
    records = [dataclasses.replace(record, split=record.split or "train") for record in records]
    if not any(record.split == "val" for record in records):
        held_out = ("val", *held_out)
        records = _hold_out(records, source="train", target="val", fraction=config.val_fraction, seed=seed + 1)
    return dataclasses.replace(photos, records=tuple(records), held_out=held_out)


def check_photos(photos: PhotoSet) -> None:
    """Raise DataError if nothing can be learned from the photos."""
    if not photos.records:
        raise DataError(f"{photos.name} contains no photos; expected one folder per class, or a manifest")
    if len(photos.class_names) < 2:
        raise DataError(
            f"{photos.name} has only one class, {photos.class_names[0]!r}; a classifier needs at least two: put the "
            "photos of each class into its own folder"
        )
    trained = {record.label for record in photos.split("train")}
    missing = [name for name in photos.class_names if name not in trained]
    if missing:
        raise DataError(
            f"class {missing[0]!r} of {photos.name} has no training photos ({len(missing)} such classes); add some to "
            "the train split, or remove the class from the other splits"
        )


def what_is_unmeasured(splits: Collection[str]) -> str | None:
    """Describe the effect of a missing validation or test split on the metrics; None if both exist."""
    remedy = "give each class more photos, or smaller groups"
    if "val" not in splits and "test" not in splits:
        return f"No photos are left for validation and test: all metrics are measured on training photos: {remedy}"
    if "test" not in splits:
        return (
            "No photos are left for testing: metrics are measured on the validation photos that also selected "
            f"the model: {remedy}"
        )
    if "val" not in splits:
        return f"No photos are left for validation: the last epoch is kept, without calibration: {remedy}"
    return None


def cut_groups(photos: PhotoSet) -> tuple[str, ...]:
    """Return the groups with photos in more than one split, in order: the data's own splits can cut a group."""
    splits: dict[str, set[Split | None]] = defaultdict(set)
    for record in photos.records:
        splits[record.group].add(record.split)
    return tuple(sorted(group for group, names in splits.items() if group and len(names) > 1))


def _hold_out(
    records: list[Record], *, source: Split | None, target: Split, fraction: float, seed: int
) -> list[Record]:
    labels: dict[Unit, set[str]] = defaultdict(set)
    for record in records:
        if record.split == source:
            labels[_unit(record)].add(record.label)
    chosen = _choose_units(labels, fraction=fraction, seed=seed)
    return [
        dataclasses.replace(record, split=target) if record.split == source and _unit(record) in chosen else record
        for record in records
    ]


def _unit(record: Record) -> Unit:
    """Return the unit that is held out as a whole: a record's group, or the photo itself."""
    return (record.group, "" if record.group else record.path.as_posix())


def _choose_units(labels: Mapping[Unit, set[str]], *, fraction: float, seed: int) -> set[Unit]:
    """Choose a fraction of each class's units, rounded, leaving at least one of each class.

    Args:
        labels: The classes of the photos of each unit.
        fraction: Fraction of the units of each class.
        seed: Seed of the choice.
    """
    by_label: dict[str, list[Unit]] = defaultdict(list)
    for unit in sorted(labels):
        for label in labels[unit]:
            by_label[label].append(unit)
    num_wanted = {label: min(round(fraction * len(units)), len(units) - 1) for label, units in by_label.items()}
    chosen: set[Unit] = set()
    for label, units in sorted(by_label.items(), key=lambda item: (len(item[1]), item[0])):  # rare classes choose first
        random.Random(f"{seed} {label}").shuffle(units)
        for unit in units:
            if unit not in chosen and all(num_wanted[each] > 0 for each in labels[unit]):
                chosen.add(unit)
                for each in labels[unit]:
                    num_wanted[each] -= 1
    return chosen


def spread_out(items: Sequence[Item], *, count: int) -> list[Item]:
    """Return so many of the items, evenly spaced; all if there are fewer."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]
