"""The photos that a run began with, found again in data that may have grown, shrunk or been renamed since."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from mge.data.photo import as_text
from mge.data.records import PhotoSet, Record
from mge.data.sources.shards import TABLE_SUFFIXES
from mge.errors import ModelFolderError
from mge.evaluation.inspection import digest_photos
from mge.evaluation.recorded_photos import NO_FILE, Stamp, name_photos, stamp_photos
from mge.storage.photo_record import NUM_DIGITS, PHOTOS, USES, KnownPhoto, read_known_photos
from mge.storage.run_folder import Run, is_run

MODELS = ("best", "last")  # folders of models in a run
PLAIN = ("plain", "plain_equal_compute")  # runs of plain networks in the run of a mixture


class PhotoMatch(NamedTuple):
    """A photo in a run's record.

    Args:
        known: The photo that it is, or was; None where the run had none like it.
        how: `same`; `moved`: its content had another name; `changed`: its name had another content; or `new`.
    """

    known: KnownPhoto | None
    how: Literal["same", "moved", "changed", "new"]


def find_record(path: Path) -> tuple[Run, tuple[KnownPhoto, ...]] | None:
    """Find the run that a run folder or a model folder belongs to, and its record; None where it kept none.

    A plain network's run has its photos from the run that it is part of.

    Raises:
        ModelFolderError: the record is damaged.
    """
    for folder in _homes(path.absolute()):
        known = read_known_photos(folder) if is_run(folder) else None
        if known is not None:
            run = Run(folder)
            expected = (run.origin() or {}).get("num_photos", len(known))
            if expected != len(known):
                raise ModelFolderError(
                    f"{folder / PHOTOS} is damaged: it has {len(known)} photos, and the run began with {expected}; "
                    "copy it again or train anew"
                )
            return run, known
    return None


def _homes(path: Path) -> list[Path]:
    """Return the folders that may have the record of a run folder or a model folder, by their names."""
    run = path.parent if path.name in MODELS else path
    return [run, run.parent] if run.name in PLAIN else [run]


def restore_splits(
    photos: PhotoSet, known: Sequence[KnownPhoto], *, data: str, class_names: Sequence[str], are_pinned: bool = False
) -> PhotoSet:
    """Split a run's own data as they were when it began; photos that it did not have are in no split.

    Those of classes that it did not have either are left out.

    Args:
        photos: The data, as they are now.
        known: The run's record.
        data: What the run calls them.
        class_names: The classes that its model knows.
        are_pinned: Whether the data's name stands for the photos of the training for ever.
    """
    names = name_photos(photos.records, data=data)
    found = find_again(photos.records, known, names=names, are_pinned=are_pinned)
    strange = {
        record.label
        for record, each in zip(photos.records, found, strict=True)
        if each.known is None and record.label not in class_names
    }
    notes, records = describe_changes(found, known, name=photos.name), []
    for record, each in zip(photos.records, found, strict=True):
        split = None if each.known is None else each.known.split
        if each.known is not None or record.label not in strange:
            records.append(record if record.split == split else dataclasses.replace(record, split=split))
    if strange:
        notes.append(f"{len(strange)} classes were added that the model does not know, the first is {min(strange)!r}")
    used = {record.label for record in records}
    return dataclasses.replace(
        photos, records=tuple(records), notes=(*photos.notes, *notes),
        class_names=tuple(name for name in photos.class_names if name in used),
    )  # fmt: skip


def find_again(
    records: Sequence[Record], known: Sequence[KnownPhoto], *, names: Sequence[str] | None, are_pinned: bool = False
) -> list[PhotoMatch]:
    """Find each photo in a run's record: by its name while its file is as it was, and else by its content.

    Of photos with the same content, or the same name, that were used in different ways, it is the one that the run has
    seen most of.

    Args:
        records: The photos.
        known: The run's record.
        names: What the run would call each photo; None: they are other data, and only their content says anything.
        are_pinned: Whether the data's name stands for the photos of the training for ever.
    """
    by_name = _most_seen(known, key=lambda photo: photo.name)
    by_digest = _most_seen((photo for photo in known if photo.digest), key=lambda photo: photo.digest)
    named = [None] * len(records) if names is None else [by_name.get(name) for name in names]
    is_same = are_untouched(records, named, known=known, are_pinned=are_pinned)
    unsure = [number for number, same in enumerate(is_same) if not same]
    digests = dict(zip(unsure, digest_photos([records[number] for number in unsure]), strict=True))
    found = [
        PhotoMatch(photo, "same") if is_same[number] else _by_content(photo, digests[number][:NUM_DIGITS], by_digest)
        for number, photo in enumerate(named)
    ]
    elsewhere = {each.known.digest for each in found if each.known is not None and each.how != "changed"} - {""}
    return [  # the name of a photo that is there under another one was given to a new photo
        PhotoMatch(None, "new") if each.known and each.how == "changed" and each.known.digest in elsewhere else each
        for each in found
    ]


def are_untouched(
    records: Sequence[Record], expected: Sequence[KnownPhoto | None], *, known: Iterable[KnownPhoto], are_pinned: bool
) -> list[bool]:
    """Tell which photos are the expected ones for certain, without reading any.

    So it is where its file has the size and the time of change that it had, which no other photo of the record has.

    Args:
        records: The photos.
        expected: What the run had in each one's place.
        known: The run's record.
        are_pinned: Whether the data's name stands for the photos of the training for ever.
    """
    is_telling = _telling_stamps(known)
    return [
        photo is not None and (are_pinned or (stamp in is_telling and stamp == (photo.size, photo.modified_ns)))
        for photo, stamp in zip(expected, stamp_photos(records), strict=True)
    ]


def describe_changes(found: Sequence[PhotoMatch], known: Sequence[KnownPhoto], *, name: str) -> list[str]:
    """Say in sentences what has become of a run's photos since; none where they are as they were."""
    counts = Counter(each.how for each in found)
    names = {each.known.name for each in found if each.known is not None}
    digests = {each.known.digest for each in found if each.known is not None} - {""}
    gone = Counter(photo.split for photo in known if photo.name not in names and photo.digest not in digests)
    notes = []
    if counts["new"]:
        notes.append(
            f"{_photos(counts['new'])} added to {name} since the training, and not measured; they are with --split new"
        )
    if counts["moved"]:
        notes.append(f"{_photos(counts['moved'])} renamed or copied since the training, and known by content")
    if counts["changed"]:
        notes.append(f"{_photos(counts['changed'])} changed since the training, and kept in the split of the name")
    if gone:
        of_each = ", ".join(f"{gone[split]} of {split}" for split in USES if gone[split])
        were = "photo" if gone.total() == 1 else "photos"
        notes.append(f"{gone.total():,} {were} that the run began with are missing from {name}: {of_each}")
    return [as_text(note) for note in notes]


def _photos(count: int) -> str:
    return f"{count:,} photo was" if count == 1 else f"{count:,} photos were"


def _by_content(named: KnownPhoto | None, digest: str, by_digest: dict[str, KnownPhoto]) -> PhotoMatch:
    """Find a photo that was read in a run's record."""
    if named is not None and digest == named.digest:
        return PhotoMatch(named, "same")
    if digest in by_digest:
        return PhotoMatch(by_digest[digest], "moved")
    return PhotoMatch(named, "new" if named is None else "changed")


def _most_seen(known: Iterable[KnownPhoto], *, key: Callable[[KnownPhoto], str]) -> dict[str, KnownPhoto]:
    """Return the photos by a key; of several with the same key the one that the run has seen most of."""
    chosen: dict[str, KnownPhoto] = {}
    for photo in known:
        previous = chosen.get(key(photo))
        if previous is None or USES.index(photo.split) < USES.index(previous.split):
            chosen[key(photo)] = photo
    return chosen


def _telling_stamps(known: Iterable[KnownPhoto]) -> set[Stamp]:
    """Return the sizes and times that belong to one file only."""
    files: dict[Stamp, set[str]] = defaultdict(set)
    for photo in known:
        table = photo.name.rpartition("#")[0]
        files[photo.size, photo.modified_ns].add(table if table.lower().endswith(TABLE_SUFFIXES) else photo.name)
    return {stamp for stamp, names in files.items() if len(names) == 1 and stamp != NO_FILE}
