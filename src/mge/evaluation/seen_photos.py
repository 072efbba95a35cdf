"""Photos of other data than a run's own that the run has used nevertheless."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from mge.data.records import PhotoSet, Selection
from mge.errors import DataError
from mge.evaluation.known_photos import find_again, find_record


def leave_out_seen(
    path: Path, photos: PhotoSet, *, split: Selection, even_so: bool = False, uses: Collection[str] = ("train", "val")
) -> PhotoSet:
    """Leave out photos of other data that the run was trained on, or that selected its model.

    Args:
        path: The run, or its model; a model without its run has no record.
        photos: The data.
        split: Split to measure.
        even_so: Whether to measure used photos too; then they are only counted.
        uses: Uses by the run that exclude a photo.

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
