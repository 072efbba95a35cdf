"""What is known about a set of photos before any of them is opened."""

import dataclasses
import random
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from mge.config import DataConfig
from mge.errors import DataError

Split = Literal["train", "val", "test"]


@dataclasses.dataclass(frozen=True)
class Record:
    """One photo.

    Args:
        path: Where it lies; for a photo that is no file of its own, what people find it by.
        label: Name of its class.
        split: What it is used for; None until `assign_splits` has decided.
        box_xyxy: Where the thing is, in the photo's pixels as it is shown, end-exclusive; None where nobody said.
        group: What it shares with other photos of the same object, which then stay in one split; empty for none.
        read: Gives the bytes of a photo that is no file of its own: a row of a table, say. It must be picklable.
    """

    path: Path
    label: str
    split: Split | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    group: str = ""
    read: Callable[[], bytes] | None = None

    @property
    def content(self) -> Path | bytes:
        """What `open_photo` is given."""
        return self.path if self.read is None else self.read()


@dataclasses.dataclass(frozen=True)
class PhotoSet:
    """Photos with their labels and splits.

    Args:
        name: What people call it.
        source: Which reader took it.
        class_names: The classes, in the order of the logits.
        records: The photos.
        parents: The coarser class of each class, where the data has a hierarchy; a coarser class may have a parent too.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    parents: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: Split) -> tuple[Record, ...]:
        """The photos of one split."""
        return tuple(record for record in self.records if record.split == name)


def clean_label(label: str) -> str:
    """A label as labels are compared: each letter in one spelling (Unicode's NFC), no spaces around.

    A Mac writes é as two characters where others write one; the two look the same to everybody but a computer.

    Raises:
        DataError: it is no text: the name of a folder in another encoding than UTF-8.
    """
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"the class name {label!r} is no text in UTF-8; rename the folder, or mend the list") from error
    return unicodedata.normalize("NFC", label).strip()


def clean_labels(photos: PhotoSet) -> PhotoSet:
    """The same photos, with the labels of classes and of coarser classes cleaned."""
    clean = {name: clean_label(name) for name in photos.class_names}
    records = tuple(
        record if clean[record.label] == record.label else dataclasses.replace(record, label=clean[record.label])
        for record in photos.records
    )
    names = tuple(dict.fromkeys(clean.values()))
    parents = {clean_label(child): clean_label(parent) for child, parent in photos.parents.items()}
    return dataclasses.replace(photos, class_names=names, records=records, parents=parents)


def assign_splits(photos: PhotoSet, *, config: DataConfig, seed: int) -> PhotoSet:
    """Holds out photos of each class for testing and validation where the data does not.

    The choice depends on the seed and on the photos' paths, not on the order in which a disk lists them. At least one
    photo of each class stays for training.
    """
    has_splits = any(record.split for record in photos.records)
    records = list(photos.records)
    if not has_splits:
        records = _hold_out(records, source=None, target="test", fraction=config.test_fraction, seed=seed)
    records = [dataclasses.replace(record, split=record.split or "train") for record in records]
    if not any(record.split == "val" for record in records):
        records = _hold_out(records, source="train", target="val", fraction=config.val_fraction, seed=seed + 1)
    return dataclasses.replace(photos, records=tuple(records))


def check_photos(photos: PhotoSet) -> None:
    """Raises DataError where nothing can be learned from the photos."""
    if not photos.records:
        raise DataError(f"{photos.name} holds no photos; expected one folder a class with photos in it, or a manifest")
    if len(photos.class_names) < 2:
        raise DataError(
            f"{photos.name} has one class only, {photos.class_names[0]!r}; a classifier needs at least two: put "
            "the photos of each class into a folder of its own"
        )
    trained = {record.label for record in photos.split("train")}
    missing = [name for name in photos.class_names if name not in trained]
    if missing:
        raise DataError(
            f"class {missing[0]!r} of {photos.name} has no training photos ({len(missing)} such classes); add some to "
            "its train split, or remove the class from the other splits"
        )


def _hold_out(
    records: list[Record], *, source: Split | None, target: Split, fraction: float, seed: int
) -> list[Record]:
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split == source:
            by_label[record.label].append(record)
    chosen: set[Path] = set()
    for label, candidates in by_label.items():
        shuffled = sorted(candidates, key=lambda record: record.path.as_posix())
        random.Random(f"{seed} {label}").shuffle(shuffled)
        count = min(round(fraction * len(shuffled)), len(shuffled) - 1)
        chosen |= {record.path for record in shuffled[:count]}
    return [
        dataclasses.replace(record, split=target) if record.path in chosen and record.split == source else record
        for record in records
    ]
