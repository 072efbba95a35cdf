"""Photos that data list more than once: repetitions are merged, and contradictions are noted."""

import dataclasses
import os
from collections import defaultdict

from mge.data.records import PhotoSet, Record


def settle_repeats(photos: PhotoSet) -> PhotoSet:
    """Return the photos without repeated rows, with notes on contradictory rows of one photo.

    Of rows that differ only in the box, the one with the largest box stays: a record has room for one.
    """
    kept: dict[tuple[str, str, str | None, str], Record] = {}
    for record in photos.records:
        key = (_place(record), record.label, record.split, record.group)
        if key not in kept or _area(record) > _area(kept[key]):
            kept[key] = record
    labels, splits = defaultdict(set), defaultdict(set)
    for place, label, split, _ in kept:
        labels[place].add(label)
        splits[place].add(split or "no split")
    notes = [*photos.notes]
    if len(kept) < len(photos.records):
        notes.append(f"{len(photos.records) - len(kept):,} rows of {photos.name} are duplicates and were dropped")
    torn = [place for place, found in labels.items() if len(found) > 1]
    if torn:
        names = " and ".join(map(repr, sorted(labels[torn[0]])[:2]))
        notes.append(
            f"{len(torn):,} photos of {photos.name} have several labels, the first is {torn[0]} with {names}: a "
            "classifier needs one label per photo; keep one row for each photo"
        )
    leaked = [place for place, found in splits.items() if len(found) > 1]
    if leaked:
        names = " and ".join(sorted(splits[leaked[0]])[:2])
        notes.append(
            f"{len(leaked):,} photos of {photos.name} are in more than one split, the first is {leaked[0]} in {names}: "
            "accuracy on held-out photos will be too optimistic (leakage); keep one row for each photo"
        )
    return dataclasses.replace(photos, records=tuple(kept.values()), notes=tuple(notes))


def _place(record: Record) -> str:
    """Return a photo's identity, however its path is written; links are not resolved."""
    return os.path.abspath(record.path) if record.read is None else str(record.path)  # noqa: PTH100  (no disk is asked)


def _area(record: Record) -> float:
    x1, y1, x2, y2 = record.box_xyxy or (0, 0, 0, 0)
    return (x2 - x1) * (y2 - y1)
