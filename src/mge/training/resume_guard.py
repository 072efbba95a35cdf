"""Origin of a run: data and settings at its start, which a resumed run must match."""

from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric

from mge.data.photo import as_text
from mge.data.records import PhotoSet
from mge.errors import ConfigError, DataError, MgeError, ModelFolderError
from mge.evaluation.inspection import digest_photos
from mge.evaluation.known_photos import are_untouched
from mge.evaluation.recorded_photos import describe_photos, name_photos
from mge.storage.photo_record import NUM_DIGITS, read_known_photos
from mge.storage.run_folder import CONFIG, ORIGIN, Run

# Settings that may change when a run is resumed: locations (a teacher is identified by its checksum), devices, speed,
# and additional work.
HARMLESS = (
    "data", "teacher", "teacher_sha256", "workers", "cache", "accelerator", "devices", "nodes", "strategy",
    "process_timeout", "checkpoint_minutes", "checkpoint_steps", "max_broken_fraction", "baseline",
)  # fmt: skip


def check_settings(settings: Mapping[str, Any], *, run: Run) -> None:
    """Raise ConfigError for the first setting that has changed since the run started.

    A setting that only one of the two has is ignored: it came with another version, and has its default.
    """
    began_with = (run.origin() or {}).get("settings", {})
    for name, value in settings.items():
        then = began_with.get(name, value)
        if value != then and name not in HARMLESS:
            raise ConfigError(
                f"{name} is {value} in {run.folder / CONFIG}, but the run started with {then}; restore it, or start a "
                "new run in another folder"
            )


def keep_or_check(fabric: Fabric, photos: PhotoSet, *, run: Run, settings: Mapping[str, Any]) -> None:
    """Record the origin of a new run; for a resumed run, check that the photos are the same.

    Raises:
        DataError: they are not.
        ModelFolderError: the record is damaged.
    """
    description = describe_photos(photos)
    origin = run.origin()
    fabric.barrier()  # all have read the file before the first process writes it
    if origin is not None and not origin.keys() >= description.keys():
        raise ModelFolderError(f"{run.folder / ORIGIN} is damaged: it lacks a part; copy it again or start a new run")
    if origin is not None:
        _compare(description, origin=origin, name=photos.name)
        problem: MgeError | None = None
        try:
            problem = _find_changed(photos, run=run) if fabric.is_global_zero else None
        except MgeError as error:
            problem = error
        problem = fabric.broadcast(problem)  # all stop, or none
        if problem is not None:
            raise problem
    elif fabric.is_global_zero:
        run.write_origin({**description, "settings": dict(settings)})


def _compare(now: Mapping[str, Any], *, origin: Mapping[str, Any], name: str) -> None:
    classes, previous_classes = now["class_names"], origin["class_names"]
    if classes != previous_classes:
        new = [f"{label!r} is new" for label in classes if label not in previous_classes][:1]
        gone = [f"{label!r} is gone" for label in previous_classes if label not in classes][:1]
        changed = ", ".join(new + gone) or "their order is different"
        what = f"{len(classes)} classes, but the run started with {len(previous_classes)}: {changed}"
    elif now["num_photos"] != origin["num_photos"]:
        what = f"{now['num_photos']} photos, but the run started with {origin['num_photos']}"
    elif now["sha256_of_names"] != origin["sha256_of_names"]:
        what = f"{now['num_photos']} photos, as when the run started, but different ones or in other splits"
    else:
        return
    raise DataError(f"{name} has {what}; restore them, or start a new run")


def _find_changed(photos: PhotoSet, *, run: Run) -> DataError | None:
    """Describe photos whose content has changed since the run started, under any name; None without any.

    Photos that were unreadable then are left out of the run, and may have been repaired since.
    """
    known = read_known_photos(run.folder)
    if known is None or len(known) != len(photos.records):  # of an older version
        return None
    expected = [
        photo if photo.name == name else None
        for photo, name in zip(known, name_photos(photos.records, data=run.data()), strict=True)
    ]
    are_pinned = bool(photos.pinned) and photos.pinned == (run.origin() or {}).get("pinned")
    is_same = are_untouched(photos.records, expected, known=known, are_pinned=are_pinned)
    unsure = [number for number, same in enumerate(is_same) if not same and known[number].digest]
    digests = digest_photos([photos.records[number] for number in unsure])
    changed = [
        (number, digest[:NUM_DIGITS])
        for number, digest in zip(unsure, digests, strict=True)
        if digest[:NUM_DIGITS] != known[number].digest
    ]
    if not changed:
        return None
    number, digest = changed[0]
    others = [photo.name for photo in known if photo.digest == digest]
    what = f"has the content of {others[0]}" if others else "has different content" if digest else "cannot be read"
    said = (
        f"{len(changed)} of {len(known)} photos of {photos.name} have changed since the run started: "
        f"{photos.records[number].path} {what} now; restore them, or start a new run"
    )
    return DataError(as_text(said))
