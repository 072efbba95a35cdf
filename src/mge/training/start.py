"""Setup of a run folder: created, found or resumed by the first process, for all of them.

A name is claimed by creating its folder, and a process that writes to a run holds its lock. So several trainings that
start at once get different folders, and of several that need the same one, only one gets it.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.errors import ConfigError, MgeError
from mge.storage.lock import hold, is_lost
from mge.storage.run_folder import CONFIG, Run, is_run, open_run
from mge.training.resume_guard import check_settings


@contextlib.contextmanager
def begin_run(
    fabric: Fabric, settings: Mapping[str, Any], folder: Path | None, *, manifest: str | None = None
) -> Iterator[Run]:
    """Create a new run and hold its lock. A run that fails before its first checkpoint is removed.

    Args:
        fabric: Lightning Fabric with all processes.
        settings: Content of `config.yaml`.
        folder: The run's folder. None: the first free name in `runs/`.
        manifest: Text of a manifest that the run stores as its data.

    Raises:
        ConfigError: the folder is not empty.
        InUseError: another process is creating a run there.
        StorageError: the folder cannot be written to.
    """
    with contextlib.ExitStack() as holding:

        def begin() -> Run:
            names = _names(settings) if folder is None else [folder]
            tried = ((name, Run.make_folder(name)) for name in names)
            taken, is_made_here = next((name, is_made) for name, is_made in tried if is_made or folder is not None)
            Run.check_unused(taken)
            holding.enter_context(hold(Run(taken).lock_path, what=taken, lasts=True))
            Run.check_unused(taken)
            holding.enter_context(_gone_if_it_fails(Run(taken), is_made_here=is_made_here))
            return Run.create(taken, config=settings, manifest=manifest)

        yield _by_first_process(fabric, begin)


@contextlib.contextmanager
def resume_run(fabric: Fabric, settings: Mapping[str, Any], folder: Path) -> Iterator[Run]:
    """Open a run with its original settings, and hold its lock.

    Raises:
        InUseError: another process is writing to it.
        ConfigError: its settings differ from those at its start.
    """
    with contextlib.ExitStack() as holding:

        def resume() -> Run:
            run = open_run(folder)
            check_settings(settings, run=run)
            holding.enter_context(hold(run.lock_path, what=run.folder, lasts=True))
            if run.config() != settings:
                raise ConfigError(f"{run.folder / CONFIG} was changed while it was read; run the same command again")
            run.clear_unfinished()
            return run

        yield _by_first_process(fabric, resume)


def enter_part(fabric: Fabric, settings: Mapping[str, Any], folder: Path) -> Run:
    """Open a run inside another one, whose lock is held; it is created if it does not exist yet."""
    return _by_first_process(
        fabric, lambda: open_run(folder) if is_run(folder) else Run.create(folder, config=settings)
    )


@contextlib.contextmanager
def _gone_if_it_fails(run: Run, *, is_made_here: bool) -> Iterator[None]:
    """Remove a new run that fails before its first checkpoint, since it cannot be resumed."""
    try:
        yield
    except BaseException:
        if not has_begun(run) and not is_lost(run.lock_path):
            run.remove() if is_made_here else run.clear()
        raise


def has_begun(run: Run) -> bool:
    """Return whether there is a checkpoint to resume from."""
    return any(run.folder.rglob("*.ckpt"))


def _by_first_process(fabric: Fabric, enter: Callable[[], Run]) -> Run:
    """Enter a run in the first process, and return it, or raise its error, in all of them."""
    result: Path | MgeError | None = None
    if fabric.is_global_zero:
        try:
            result = enter().folder
        except MgeError as error:
            result = error
    result = fabric.broadcast(result)
    if isinstance(result, MgeError):
        raise result
    return Run(Path(str(result)))


def _names(settings: Mapping[str, Any]) -> Iterator[Path]:
    """Yield `runs/photos`, `runs/photos-2` and so on."""
    taught = f"{Path(settings['teacher']).name}-student" if "teacher" in settings else ""
    name = taught or _short_name(settings["data"])
    return (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))


def _short_name(data: str) -> str:
    """Return the short name `birds` of `/photos/birds`, of `birds.csv` and of `hf:owner/birds:config@v1.0`."""
    if data.startswith("hf:"):
        return re.split("[:@]", data.removeprefix("hf:"))[0].rpartition("/")[2]
    return Path(data).name if Path(data).is_dir() else Path(data).stem
