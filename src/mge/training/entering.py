"""The folder of a run: made, found or gone on with by the first process, for all of them."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.errors import MgeError
from mge.storage.run_folder import Run, open_run
from mge.training.origin import check_settings


def go_on_with(fabric: Fabric, settings: Mapping[str, Any], folder: Path | None) -> Run:
    """A run that exists, with the settings that it began with, and without what it was writing when it was killed."""
    run = open_run(folder or "")
    check_settings(settings, run=run)
    if fabric.is_global_zero:
        run.clear_unfinished()
    return run


def enter_run(
    fabric: Fabric, settings: Mapping[str, Any], folder: Path | None, *, may_exist: bool = False,
    manifest: str | None = None,
) -> Run:  # fmt: skip
    """The run that the first process makes, or finds where it may exist, for all of them."""
    result: Path | MgeError | None = None
    if fabric.is_global_zero:
        taught = f"{Path(settings['teacher']).name}-student" if "teacher" in settings else ""
        chosen = folder or _free_folder(taught or _short_name(settings["data"]))
        try:
            is_there = may_exist and chosen.exists()
            entered = open_run(chosen) if is_there else Run.create(chosen, config=settings, manifest=manifest)
            result = entered.folder
        except MgeError as error:
            result = error
    result = fabric.broadcast(result)
    if isinstance(result, MgeError):
        raise result
    return Run(Path(str(result)))


def _short_name(data: str) -> str:
    """`birds` of `/photos/birds`, of `birds.csv` and of `hf:owner/birds:config@v1.0`."""
    if data.startswith("hf:"):
        return re.split("[:@]", data.removeprefix("hf:"))[0].rpartition("/")[2]
    return Path(data).name if Path(data).is_dir() else Path(data).stem


def _free_folder(name: str) -> Path:
    """`runs/name`, or `runs/name-2` and so on where that exists."""
    candidates = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in candidates if not folder.exists())
