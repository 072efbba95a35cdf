"""Leaving broken photos out of a run: decided once, when it begins, and part of it from then on."""

import dataclasses

from lightning_fabric import Fabric

from mge.data.broken import Broken, leave_out, list_broken, refuse_too_broken
from mge.data.records import PhotoSet
from mge.errors import ModelFolderError
from mge.report.tables import print_broken
from mge.storage.run_folder import Run
from mge.training.inspection import inspect


def skip_broken(
    fabric: Fabric, photos: PhotoSet, *, run: Run, max_fraction: float
) -> tuple[PhotoSet, tuple[Broken, ...]]:
    """The photos of a run that can be read, and those that were left out.

    A run that is gone on with leaves out what it left out when it began, and looks at nothing: a photo that broke since
    is an error when its turn comes, for without it the order of the photos would be another.

    Args:
        fabric: Lightning Fabric; the first process looks, for all of them.
        photos: All photos, with their splits: a broken photo does not move the others.
        run: The run, whose folder says what is skipped.
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
            run.write_skipped([dataclasses.asdict(photo) for photo in broken])
    if fabric.is_global_zero:
        print_broken(broken, num_photos=len(photos.records), file=run.skipped_path)
    return leave_out(photos, broken), broken
