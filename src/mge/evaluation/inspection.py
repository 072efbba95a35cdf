"""Looking at photos before they are used, remembering what was seen, and leaving broken ones out of a run."""

import dataclasses
from collections.abc import Sequence

from lightning_fabric import Fabric

from mge.console.progress import track_photos
from mge.console.tables import print_broken, print_notes
from mge.data.check.broken import Broken, leave_out, list_broken, refuse_too_broken
from mge.data.check.scan import PhotoScan, digest_contents, scan_photos
from mge.data.records import PhotoSet, Record
from mge.errors import ModelFolderError
from mge.evaluation.recorded_photos import describe_known, note_copies
from mge.storage.photo_record import write_known_photos
from mge.storage.run_folder import Run
from mge.storage.scan_cache import ScanCache

NOT_DECODED = "not decoded yet"  # remembered of a photo whose content was read, and nothing more


def inspect(records: Sequence[Record], *, with_hashes: bool) -> list[PhotoScan]:
    """The looks at photos: those that are remembered, and new ones for what is new or changed.

    Broken photos are looked at each time: a newer decoder may read them, and they are few.

    Args:
        records: The photos.
        with_hashes: Whether hashes of what they show and sizes are wanted, too.
    """
    scan_cache = ScanCache(record.path for record in records if record.read is None)
    scans: dict[int, PhotoScan] = {}
    for number, record in enumerate(records):
        scan = _recall(scan_cache, record)
        if scan is not None and not scan.error and (not with_hashes or scan.perceptual):
            scans[number] = scan
    new = [number for number in range(len(records)) if number not in scans]
    seen = scan_photos([records[number] for number in new], with_hashes=with_hashes)
    try:
        for number, scan in zip(new, track_photos(seen, verb="reading", total=len(new)), strict=True):
            scans[number] = scan
    finally:  # what was seen before a Ctrl-C, too
        found = {number: scans[number] for number in new if number in scans and not scans[number].error}
        if found:
            scan_cache.keep({records[n].path: list(scan) for n, scan in found.items() if records[n].read is None})
    return [scans[number] for number in range(len(records))]


def digest_photos(records: Sequence[Record]) -> list[str]:
    """Return the SHA-256 of each photo's content, empty where it cannot be read; what is remembered is not read again.

    Args:
        records: The photos.
    """
    scan_cache = ScanCache(record.path for record in records if record.read is None)
    known = [_recall(scan_cache, record) for record in records]
    digests = ["" if scan is None else scan.digest for scan in known]
    new = [number for number, digest in enumerate(digests) if not digest]
    read = digest_contents([records[number] for number in new])
    for number, digest in zip(new, track_photos(read, verb="reading", total=len(new)), strict=True):
        digests[number] = digest
    found = [number for number in new if digests[number] and records[number].read is None]
    if found:
        scan_cache.keep({records[number].path: list(PhotoScan(NOT_DECODED, digests[number])) for number in found})
    return digests


def _recall(scan_cache: ScanCache, record: Record) -> PhotoScan | None:
    """What is remembered of a photo that is a file of its own."""
    row = scan_cache.get(record.path) if record.read is None else None
    return None if row is None else PhotoScan._make(row)


def skip_broken(
    fabric: Fabric, photos: PhotoSet, *, run: Run, max_fraction: float
) -> tuple[PhotoSet, tuple[Broken, ...]]:
    """The photos of a run that can be read, and those that are left out: decided once, when it begins.

    A run that is gone on with leaves out what it left out when it began, and looks at nothing: a photo that broke since
    is an error when its turn comes, for without it the order of the photos would be another.

    Args:
        fabric: Lightning Fabric; the first process looks, for all of them.
        photos: All photos, with their splits: a broken photo does not move the others.
        run: The run, whose folder says what is skipped, and gets the record of all photos.
        max_fraction: Fraction of the photos that may be broken.

    Raises:
        DataError: more are broken, or all training photos of a class are.
        ModelFolderError: the run's list of them is damaged.
    """
    saved = run.skipped()
    fabric.barrier()  # all have looked before the first process writes
    if saved is not None:
        try:
            broken = tuple(Broken(**row) for row in saved)
        except TypeError as error:
            raise ModelFolderError(f"{run.skipped_path} is damaged: {error}; copy it again or train anew") from error
    else:
        seen = inspect(photos.records, with_hashes=False) if fabric.is_global_zero else []
        broken = fabric.broadcast(list_broken(photos.records, seen) if fabric.is_global_zero else ())
        refuse_too_broken(photos, broken, max_fraction=max_fraction)
        if fabric.is_global_zero:
            digests = [scan.digest for scan in seen]
            print_notes(note_copies(photos, digests=digests))
            write_known_photos(run.folder, describe_known(photos, data=run.data(), digests=digests))
            run.write_skipped([dataclasses.asdict(photo) for photo in broken])
    if fabric.is_global_zero:
        print_broken(broken, num_photos=len(photos.records), file=run.skipped_path)
    return leave_out(photos, broken), broken
