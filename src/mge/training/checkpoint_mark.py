"""The mark of a run in its checkpoints: its identity and its settings."""

from collections.abc import Mapping
from typing import Any

from mge.config.previous_names import rename_options
from mge.errors import ModelFolderError
from mge.storage.run_folder import IDENTITY, Run
from mge.training.resume_guard import HARMLESS

RUN, SETTINGS = "run", "settings"


def mark(run: Run) -> dict[str, Any]:
    """Return the mark for a checkpoint: the run's identity, and all settings that affect its result."""
    settings = {name: value for name, value in run.config().items() if name not in HARMLESS}
    return {RUN: run.identity(), SETTINGS: settings}


def check_mark(saved: Mapping[str, Any], *, run: Run) -> None:
    """Raise ModelFolderError if a checkpoint is from another run or from other settings.

    Checkpoints of older versions, which have no mark, belong to runs without an identity; a setting that only one of
    the two has came with another version.
    """
    where, own = run.checkpoint_path, run.identity()
    remedy = "copy this run's own checkpoint there, or start a new run"
    if saved.get(RUN) != own:
        written_by, known = (f"id {name[:12]}" if isinstance(name, str) else "no id" for name in (saved.get(RUN), own))
        raise ModelFolderError(
            f"{where} belongs to another run: it has {written_by}, but {run.folder / IDENTITY} has {known}; {remedy}"
        )
    began_with = rename_options(saved.get(SETTINGS, {}))
    for name, value in mark(run)[SETTINGS].items():
        then = began_with.get(name, value)
        if then != value:
            raise ModelFolderError(f"{where} was written with {name} {then}, but the run has {name} {value}; {remedy}")
