"""Record of a run's photos at its start: names, splits, and the keys to identify them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mge.data.photo import as_text
from mge.data.records import PhotoSet, Record
from mge.data.sources import is_name
from mge.data.sources.shards import TABLE_SUFFIXES
from mge.storage.photo_record import NUM_DIGITS, KnownPhoto

Stamp = tuple[int, int]  # size and modification time of the file that contains a photo
NO_FILE: Stamp = (-1, -1)


def describe_known(photos: PhotoSet, *, data: str, digests: Sequence[str]) -> list[KnownPhoto]:
    """Return the photos in the format of a run's record.

    Args:
        photos: The photos with their splits.
        data: Name of the data in the run.
        digests: SHA-256 of each one's content; empty if it could not be read.
    """
    names, stamps = name_photos(photos.records, data=data), stamp_photos(photos.records)
    return [
        KnownPhoto(name, record.label, record.split or "train", *stamp, digest[:NUM_DIGITS])
        for record, name, stamp, digest in zip(photos.records, names, stamps, digests, strict=True)
    ]


def name_photos(records: Sequence[Record], *, data: str) -> list[str]:
    """Return the photos' paths relative to the folder of their data, which may move; other paths unchanged."""
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    root = common_folder(records) if is_name(data) else str(folder)
    return [below(root, record.path) for record in records]


def common_folder(records: Iterable[Record]) -> str:
    """Return the folder that contains all photos with absolute paths; empty if there are none."""
    files = [record.path.parent for record in records if record.path.is_absolute()]
    return os.path.commonpath(files) if files else ""


def below(root: str, path: Path) -> str:
    """Return a path relative to a folder; other paths unchanged."""
    return str(path).removeprefix(f"{root.rstrip(os.sep)}{os.sep}")


def stamp_photos(records: Iterable[Record]) -> list[Stamp]:
    """Return size and modification time of the file that contains each photo."""
    of_tables: dict[str, Stamp] = {}
    stamps = []
    for record in records:
        if record.read is None:
            stamps.append(_stamp(record.path))
        else:
            table = str(record.path).rpartition("#")[0]
            if table not in of_tables:
                of_tables[table] = _stamp(Path(table)) if table.lower().endswith(TABLE_SUFFIXES) else NO_FILE
            stamps.append(of_tables[table])
    return stamps


def note_copies(photos: PhotoSet, *, digests: Sequence[str]) -> list[str]:
    """Return a note if held-out photos are copies of training photos."""
    uses: dict[str, set[str]] = defaultdict(set)
    for record, digest in zip(photos.records, digests, strict=True):
        uses[digest].add(str(record.split))
    copies = [
        record.path
        for record, digest in zip(photos.records, digests, strict=True)
        if digest and record.split != "train" and "train" in uses[digest]
    ]
    if not copies:
        return []
    note = (
        f"{len(copies)} held-out photos of {photos.name} are identical to training photos, the first is {copies[0]}: "
        "accuracy will be too optimistic (leakage); mge check lists them all"
    )
    return [as_text(note)]


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except (OSError, ValueError):  # opening it reports the reason
        return NO_FILE
    return status.st_size, status.st_mtime_ns


def describe_photos(photos: PhotoSet) -> dict[str, Any]:
    """Describe the identity of the photos: classes, names, splits and their order. Their folder may move."""
    lines = [f"{record.label}\t{record.split}\t{record.path.name}\n" for record in photos.records]
    digest = hashlib.sha256("".join(lines).encode("utf-8", errors="surrogateescape")).hexdigest()
    return {
        "pinned": photos.pinned,
        "class_names": list(photos.class_names),
        "num_photos": len(photos.records),
        "sha256_of_names": digest,
    }
