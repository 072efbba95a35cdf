"""What is wrong with a set of photos, and what is only worth knowing."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mge.data.check.broken import Broken, list_broken
from mge.data.check.duplicates import THUMBNAIL_SIDE, confirm, find_candidates, group_exact
from mge.data.check.scan import PhotoScan, thumbnail
from mge.data.photo import as_text
from mge.data.records import SPLITS, PhotoSet, Record


@dataclasses.dataclass(frozen=True)
class FlaggedPhoto:
    """A photo that a finding is about."""

    path: str
    label: str
    split: str


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A photo with a side that is shorter than asked for."""

    path: str
    label: str
    split: str
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Copies:
    """Photos that are the same, or show the same picture.

    Args:
        photos: Two of them, or more.
        across_splits: Whether they lie in different splits, so that what is measured on one was learned on another.
        labels_disagree: Whether they have different classes, of which one must be wrong.
    """

    photos: tuple[FlaggedPhoto, ...]
    across_splits: bool
    labels_disagree: bool

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Copies":
        """What there is to say about these photos."""
        found = tuple(FlaggedPhoto(str(record.path), record.label, str(record.split)) for record in records)
        return cls(found, len({photo.split for photo in found}) > 1, len({photo.label for photo in found}) > 1)


@dataclasses.dataclass(frozen=True)
class Imbalance:
    """How unevenly photos are spread over classes.

    Args:
        largest: Name of the class with the most training photos.
        smallest: Name of the class with the fewest.
        ratio: How many times more photos the largest has; 0 where the smallest has none.
        effective_classes: The number of equally large classes that would be as uneven: the exponential of the entropy
            of the classes' shares.
    """

    largest: str
    smallest: str
    ratio: float
    effective_classes: float


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that `mge check` found.

    Args:
        data: What people call the data.
        source: Which reader took it.
        num_photos: Number of photos.
        counts: For each split that has photos, the number of photos of each class.
        imbalance: How uneven the classes are in training.
        missing: For each split that has photos, the classes that it has none of.
        broken: Photos that cannot be read.
        tiny: Photos with a side below `tiny_px`.
        tiny_px: Side in pixels.
        exact: Groups of photos with the same content.
        near: Pairs of photos that show the same picture in different files; of a group of exact ones, the first.
    """

    data: str
    source: str
    num_photos: int
    counts: dict[str, dict[str, int]]
    imbalance: Imbalance
    missing: dict[str, tuple[str, ...]]
    broken: tuple[Broken, ...]
    tiny: tuple[Tiny, ...]
    tiny_px: int
    exact: tuple[Copies, ...]
    near: tuple[Copies, ...]

    @property
    def leaks(self) -> tuple[Copies, ...]:
        """Copies in different splits, exact ones first."""
        return tuple(copies for copies in (*self.exact, *self.near) if copies.across_splits)

    @property
    def conflicts(self) -> tuple[Copies, ...]:
        """Copies with different labels, exact ones first."""
        return tuple(copies for copies in (*self.exact, *self.near) if copies.labels_disagree)

    def to_json(self) -> str:
        """The findings as check.json has them."""
        return as_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def from_json(cls, text: str) -> "Findings":
        """The findings that `to_json` wrote."""
        saved: dict[str, Any] = json.loads(text)
        return cls(**{
            **saved,
            "imbalance": Imbalance(**saved["imbalance"]),
            "missing": {split: tuple(names) for split, names in saved["missing"].items()},
            "broken": tuple(Broken(**photo) for photo in saved["broken"]),
            "tiny": tuple(Tiny(**photo) for photo in saved["tiny"]),
            "exact": tuple(_read_copies(copies) for copies in saved["exact"]),
            "near": tuple(_read_copies(copies) for copies in saved["near"]),
        })  # fmt: skip


def collect_findings(photos: PhotoSet, scans: Sequence[PhotoScan], *, tiny_px: int, distance: int) -> Findings:
    """What the looks at a set of photos, with hashes, say about it.

    Args:
        photos: The photos, with their splits.
        scans: What was seen of each.
        tiny_px: Side in pixels below which a photo is tiny, up to the side that looks are exact for.
        distance: Bits of 64 in which the perceptual hashes of near duplicates may differ.
    """
    readable = [number for number, scan in enumerate(scans) if not scan.error]
    records, seen = [photos.records[number] for number in readable], [scans[number] for number in readable]
    counts = count(photos)
    return Findings(
        data=photos.name,
        source=photos.source,
        num_photos=len(photos.records),
        counts=counts,
        imbalance=weigh(counts.get("train", dict.fromkeys(photos.class_names, 0))),
        missing={split: tuple(name for name in row if not row[name]) for split, row in counts.items()},
        broken=list_broken(photos.records, scans),
        tiny=tuple(
            Tiny(str(record.path), record.label, str(record.split), scan.width, scan.height)
            for record, scan in zip(records, seen, strict=True)
            if min(scan.width, scan.height) < tiny_px
        ),
        tiny_px=tiny_px,
        exact=tuple(
            Copies.of([records[number] for number in group]) for group in group_exact([scan.digest for scan in seen])
        ),
        near=find_near(records, seen, distance=distance),
    )


def count(photos: PhotoSet) -> dict[str, dict[str, int]]:
    """For each split that has photos, the number of photos of each class."""
    found = Counter((str(record.split), record.label) for record in photos.records)
    splits = [split for split in SPLITS if any(record.split == split for record in photos.records)]
    return {split: {name: found[split, name] for name in photos.class_names} for split in splits}


def weigh(counts: Mapping[str, int]) -> Imbalance:
    """How uneven the classes are."""
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    total = sum(counts.values())
    shares = [number / total for number in counts.values() if number]
    effective = math.exp(-sum(share * math.log(share) for share in shares)) if shares else 0.0
    ratio = counts[largest] / counts[smallest] if counts[smallest] else 0.0
    return Imbalance(largest, smallest, round(ratio, 2), round(effective, 1))


def find_near(records: Sequence[Record], scans: Sequence[PhotoScan], *, distance: int) -> tuple[Copies, ...]:
    """Pairs of photos that show the same picture and are not the same file; the first of each group of exact copies."""
    first_of: dict[str, int] = {}
    for number, scan in enumerate(scans):
        first_of.setdefault(scan.digest, number)
    numbers = list(first_of.values())
    hashes = np.array([int(scans[number].perceptual, 16) for number in numbers], dtype=np.uint64)
    pairs = find_candidates(hashes, distance=distance)
    is_copy = confirm(pairs, lambda place: thumbnail(records[numbers[place]], side=THUMBNAIL_SIDE))
    return tuple(Copies.of([records[numbers[place]] for place in pair]) for pair in pairs[is_copy].tolist())


def _read_copies(saved: Mapping[str, Any]) -> Copies:
    return Copies(**{**saved, "photos": tuple(FlaggedPhoto(**photo) for photo in saved["photos"])})
