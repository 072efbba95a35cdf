"""What a run began with, so that it goes on with nothing else."""

import hashlib
from collections.abc import Mapping
from typing import Any

from lightning_fabric import Fabric

from mge.data.records import PhotoSet
from mge.errors import ConfigError, DataError, ModelFolderError
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
    elif fabric.is_global_zero:
        run.write_origin({**description, "settings": dict(settings)})


def describe_photos(photos: PhotoSet) -> dict[str, Any]:
    """What makes photos the same ones: classes, names, splits and their order. Their folder may move."""
    lines = [f"{record.label}\t{record.split}\t{record.path.name}\n" for record in photos.records]
    digest = hashlib.sha256("".join(lines).encode("utf-8", errors="surrogateescape")).hexdigest()
    return {
        "pinned": photos.pinned,
        "class_names": list(photos.class_names),
        "num_photos": len(photos.records),
        "sha256_of_names": digest,
    }


def _compare(now: Mapping[str, Any], *, origin: Mapping[str, Any], name: str) -> None:
    classes, former_classes = now["class_names"], origin["class_names"]
    if classes != former_classes:
        new = [f"{label!r} is new" for label in classes if label not in former_classes][:1]
        gone = [f"{label!r} is gone" for label in former_classes if label not in classes][:1]
        changed = ", ".join(new + gone) or "their order is another"
        what = f"{len(classes)} classes, and the run began with {len(former_classes)}: {changed}"
    elif now["num_photos"] != origin["num_photos"]:
        what = f"{now['num_photos']} photos, and the run began with {origin['num_photos']}"
    elif now["sha256_of_names"] != origin["sha256_of_names"]:
        what = f"{now['num_photos']} photos, as when the run began, but others, or in other splits"
    else:
        return
    raise DataError(f"{name} has {what}; put them back as they were, or train anew")
