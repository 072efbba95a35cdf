"""Photos of other data than a run's own that the run has seen nevertheless."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from mge.data.records import PhotoSet, Selection
from mge.errors import DataError
from mge.training.known_photos import find_again, find_record


def leave_out_seen(
    path: Path, photos: PhotoSet, *, split: Selection, even_so: bool = False, uses: Collection[str] = ("train", "val")
) -> PhotoSet:
    """Leaves out photos of other data that the run was trained on, or that chose its model.

    Args:
        path: The run, or its model; of a model without its run nobody knows what it has seen.
        photos: The data.
        split: What shall be measured.
        even_so: Whether seen photos shall be measured too; then they are only counted.
        uses: What the run must not have used a photo for.

    Raises:
        DataError: no photo is left.
    """
    record = find_record(path)
    if record is None:
        return photos
    wanted = photos.select(split)
    found = find_again(wanted, record[1], names=None)
    seen = [each for each, what in zip(wanted, found, strict=True) if what.known and what.known.split in uses]
    if not seen:
        return photos
    note = f"{len(seen)} of {len(wanted)} photos of {photos.name} were used for training or model selection"
    if even_so:
        return dataclasses.replace(photos, notes=(*photos.notes, f"{note}: the metrics are too optimistic"))
    if len(seen) == len(wanted):
        raise DataError(f"{note}; give other photos (mge evaluate --split all accepts any)")
    left_out = set(map(id, seen))
    records = tuple(each for each in photos.records if id(each) not in left_out)
    return dataclasses.replace(photos, records=records, notes=(*photos.notes, f"{note} and are excluded"))
