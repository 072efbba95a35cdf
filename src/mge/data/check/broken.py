"""Photos that cannot be read: removal from the data, and the limits of it."""

import dataclasses
from collections.abc import Sequence

from mge.data.check.scan import PhotoScan
from mge.data.records import PhotoSet, Record
from mge.errors import DataError


@dataclasses.dataclass(frozen=True)
class Broken:
    """A photo that cannot be read.

    Args:
        path: Its path.
        label: Name of its class.
        split: Split that it would have been used in.
        reason: Reason for the failure.
    """

    path: str
    label: str
    split: str
    reason: str


def list_broken(records: Sequence[Record], scans: Sequence[PhotoScan]) -> tuple[Broken, ...]:
    """Return the photos that cannot be read, in order."""
    return tuple(
        Broken(str(record.path), record.label, record.split or "new", scan.error)
        for record, scan in zip(records, scans, strict=True)
        if scan.error
    )


def leave_out(photos: PhotoSet, broken: Sequence[Broken]) -> PhotoSet:
    """Return the photos without the broken ones; the others keep their splits and their order."""
    paths = {photo.path for photo in broken}
    return dataclasses.replace(
        photos, records=tuple(record for record in photos.records if str(record.path) not in paths)
    )


def refuse_too_broken(photos: PhotoSet, broken: Sequence[Broken], *, max_fraction: float) -> None:
    """Raise DataError if more than a few photos are broken, or a class has no readable training photos.

    Args:
        photos: All photos, including the broken ones.
        broken: The broken ones.
        max_fraction: Highest fraction of broken photos.
    """
    if not broken:
        return
    total, first = len(photos.records), broken[0]
    if len(broken) > max_fraction * total:
        raise DataError(
            f"{len(broken)} of {total} photos of {photos.name} cannot be read, the first is {first.path}, which "
            f"{first.reason}; accepted: a fraction of {max_fraction:g}; list them with mge check and replace or remove "
            "them, or raise --max-broken-fraction"
        )
    left = {record.label for record in leave_out(photos, broken).split("train")}
    lost = [record.label for record in photos.split("train") if record.label not in left]
    if lost:
        raise DataError(
            f"class {lost[0]!r} of {photos.name} has no training photo that can be read ({len(set(lost))} such "
            "classes); list the broken photos with mge check and replace them, or remove the class"
        )
