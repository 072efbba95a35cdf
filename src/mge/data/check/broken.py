"""Photos that cannot be read: what is left without them, and whether that is enough."""

import dataclasses
from collections.abc import Sequence

from mge.data.check.scan import PhotoScan
from mge.data.records import PhotoSet, Record
from mge.errors import DataError


@dataclasses.dataclass(frozen=True)
class Broken:
    """A photo that cannot be read.

    Args:
        path: Where it lies.
        label: Name of its class.
        split: Where it would have been used.
        reason: Why it cannot be read.
    """

    path: str
    label: str
    split: str
    reason: str


def list_broken(records: Sequence[Record], scans: Sequence[PhotoScan]) -> tuple[Broken, ...]:
    """The photos that cannot be read, in order."""
    return tuple(
        Broken(str(record.path), record.label, record.split or "new", scan.error)
        for record, scan in zip(records, scans, strict=True)
        if scan.error
    )


def leave_out(photos: PhotoSet, broken: Sequence[Broken]) -> PhotoSet:
    """The photos without the broken ones; the others keep their splits and their order."""
    paths = {photo.path for photo in broken}
    return dataclasses.replace(
        photos, records=tuple(record for record in photos.records if str(record.path) not in paths)
    )


def refuse_too_broken(photos: PhotoSet, broken: Sequence[Broken], *, max_fraction: float) -> None:
    """Raises DataError where too many photos are broken to be a few damaged files, or a class is lost with them.

    Args:
        photos: All photos, the broken ones among them.
        broken: Those that cannot be read.
        max_fraction: Fraction of all photos that may be broken.
    """
    if not broken:
        return
    total, first = len(photos.records), broken[0]
    if len(broken) > max_fraction * total:
        raise DataError(
            f"{len(broken)} of {total} photos of {photos.name} cannot be read, the first is {first.path}, which "
            f"{first.reason}; accepted: a fraction of {max_fraction:g}; mge check lists them: mend or remove them, or "
            "raise --max-broken-fraction"
        )
    left = {record.label for record in leave_out(photos, broken).split("train")}
    lost = [record.label for record in photos.split("train") if record.label not in left]
    if lost:
        raise DataError(
            f"class {lost[0]!r} of {photos.name} has no training photo that can be read ({len(set(lost))} such "
            "classes); mge check lists the broken photos: mend them, or remove the class"
        )
