"""What a run began with, so that it goes on with nothing else."""

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

# Settings that may change while a run rests: where things lie (a student knows its teacher by its checksum), where and
# how quickly it runs, what it also does.
HARMLESS = (
    "data", "teacher", "teacher_sha256", "workers", "cache", "accelerator", "devices", "nodes", "strategy", "patience",
    "checkpoint_minutes", "checkpoint_steps", "max_broken_fraction", "baseline",
)  # fmt: skip


def check_settings(settings: Mapping[str, Any], *, run: Run) -> None:
    """Raises ConfigError at the first setting that is not what it was when the run began.

    A setting that only one of the two knows is left alone: it came with another version, and has its default.
    """
    began_with = (run.origin() or {}).get("settings", {})
    for name, value in settings.items():
        then = began_with.get(name, value)
        if value != then and name not in HARMLESS:
            raise ConfigError(
                f"{name} is {value} in {run.folder / CONFIG}, and the run began with {then}; put it back, or "
                "train anew into another folder"
            )


def keep_or_check(fabric: Fabric, photos: PhotoSet, *, run: Run, settings: Mapping[str, Any]) -> None:
    """Notes what a new run begins with; or sees that the photos that it goes on with are those that it began with.

    Raises:
        DataError: they are not.
        ModelFolderError: what was noted is damaged.
    """
    description = describe_photos(photos)
    origin = run.origin()
    fabric.barrier()  # all have looked before the first process writes
    if origin is not None and not origin.keys() >= description.keys():
        raise ModelFolderError(f"{run.folder / ORIGIN} is damaged: it lacks a part; copy it again or train anew")
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
        changed = ", ".join(new + gone) or "their order is another"
        what = f"{len(classes)} classes, and the run began with {len(previous_classes)}: {changed}"
    elif now["num_photos"] != origin["num_photos"]:
        what = f"{now['num_photos']} photos, and the run began with {origin['num_photos']}"
    elif now["sha256_of_names"] != origin["sha256_of_names"]:
        what = f"{now['num_photos']} photos, as when the run began, but others, or in other splits"
    else:
        return
    raise DataError(f"{name} has {what}; put them back as they were, or train anew")


def _find_changed(photos: PhotoSet, *, run: Run) -> DataError | None:
    """Say which photos have another content than when the run began, whatever they are called; None without any.

    Photos that could not be read then are left out of the run, and may have been mended since.
    """
    known = read_known_photos(run.folder)
    if known is None or len(known) != len(photos.records):  # of a former version
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
    what = f"has the content of {others[0]}" if others else "has another content" if digest else "cannot be read"
    said = (
        f"{len(changed)} of {len(known)} photos of {photos.name} are not what they were when the run began: "
        f"{photos.records[number].path} {what} now; put them back as they were, or train anew"
    )
    return DataError(as_text(said))
