"""A run on disk: its configuration, environment, metrics, models and summary."""

import contextlib
import csv
import errno
import glob
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Self

import yaml

from mge.errors import ConfigError, ModelFolderError, StorageError
from mge.storage.environment import describe_environment
from mge.storage.files import UNFINISHED, remove, remove_folder, wait_for_folder, write_text_atomically
from mge.storage.hub import download_model, is_hub
from mge.storage.lock import LOCK, hold, is_lost

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "environment.json", "metrics.csv", "summary.json"
# Settings that runs of earlier versions do not say, since there was no choice then.
FIXED_THEN = {"head_layers": "none", "part_norm": "none", "interpolation": "bilinear", "fusion": "all"}
NAMED = ("data", "format", "preset")  # the settings that a run is opened by
SKIPPED, ORIGIN, IDENTITY, RIGHT = "skipped.json", "origin.json", "run.json", "right.json"
MANIFEST, BEST, LAST = "photos.jsonl", "best", "last"
PARTS = ("plain", "plain_equal_compute")  # folders of the runs that are part of a run
# All that a training replaces in its folder, beside its checkpoints.
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, SKIPPED, ORIGIN, IDENTITY, RIGHT, MANIFEST, BEST, LAST)


class Run(os.PathLike[str]):
    """A run folder. Where a path is asked for, a run stands for its folder.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def best(self) -> Path:
        """Model folder of the epoch that was best on validation."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """Model folder of the last epoch."""
        return self.folder / LAST

    @property
    def report(self) -> Path:
        """Folder of pictures and the report."""
        return self.folder / "report"

    @property
    def manifest_path(self) -> Path:
        """The photos of a run whose data were no file: a data frame."""
        return self.folder / MANIFEST

    @property
    def checkpoint_path(self) -> Path:
        """What the run goes on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def skipped_path(self) -> Path:
        """List of the photos that the run leaves out."""
        return self.folder / SKIPPED

    @property
    def resume_command(self) -> str:
        """What goes on with it, as a shell takes it."""
        return f"mge train --resume {quote(str(self.folder))}"

    @property
    def whole(self) -> Self:
        """The run that a plain network's run is part of; any other run itself."""
        is_part = self.folder.name in PARTS and is_run(self.folder.parent)
        return type(self)(self.folder.parent) if is_part else self

    @property
    def lock_path(self) -> Path:
        """The lock file of the run that this one is, or is part of."""
        return self.whole.folder / LOCK

    @staticmethod
    def make_folder(folder: Path) -> bool:
        """Takes a name for a new run.

        Returns:
            Whether the folder was made, and so by nobody else; False where there is something of this name already.

        Raises:
            ConfigError: its name is no text.
            StorageError: it cannot be made.
        """
        try:
            str(folder).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{str(folder)!r} is not valid UTF-8, which safetensors cannot read; give another --out"
            ) from error
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = os.strerror(errno.ENOTDIR) if isinstance(error, FileExistsError) else error.strerror
            raise StorageError(f"{folder} was not written: {reason}; check its parent folder") from error
        try:
            folder.mkdir()
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(f"{folder} was not written: {error.strerror}; check its parent folder") from error
        return True

    @staticmethod
    def check_unused(folder: Path) -> None:
        """Raises ConfigError where a folder holds more than what a run writes before its configuration."""
        first = (LOCK, ENVIRONMENT, IDENTITY)
        if not folder.is_dir() or not all(
            path.name in first or path.name.endswith(UNFINISHED) for path in folder.iterdir()
        ):
            raise ConfigError(
                f"{folder} exists and is not empty; give another --out, or resume the run: --resume "
                f"{quote(str(folder))}"
            )

    @classmethod
    def create(cls, folder: Path, *, config: Mapping[str, Any], manifest: str | None = None) -> Self:
        """Makes a run folder with its configuration, environment and identity.

        Args:
            folder: A folder that does not exist, or is empty; what a run left that died before it had a configuration
                is removed.
            config: The resolved options, as `mge train --config` reads them.
            manifest: The text of a manifest that the run keeps and that is its data, in place of what `config` says.

        Raises:
            ConfigError: there is something at this place already, or its name is no text.
            StorageError: it cannot be written.
        """
        cls.make_folder(folder)
        cls.check_unused(folder)
        run = cls(folder)
        run.clear()
        if manifest is not None:
            write_text_atomically(run.manifest_path, manifest)
            config = {**config, "data": str(run.manifest_path.resolve())}
        run._write_json(ENVIRONMENT, describe_environment())
        run._write_json(IDENTITY, {"id": secrets.token_hex(16)})
        run.write_config(config)
        return run

    def config(self, *needed: str) -> dict[str, Any]:
        """The resolved options that the run was started with.

        Args:
            needed: Settings that have to be among them.

        Raises:
            ModelFolderError: the file is missing or damaged.
        """
        file = self.folder / CONFIG
        try:
            settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise ModelFolderError(f"{file} cannot be read: {error}; copy it again or start a new run") from error
        if not isinstance(settings, dict):
            raise ModelFolderError(f"{file} is damaged: it has no settings; copy it again or start a new run")
        wrong = [name for name in NAMED if not isinstance(settings.get(name, ""), str)]
        if wrong:
            raise ModelFolderError(f"{file} is damaged: {wrong[0]} is not text; copy it again or start a new run")
        lacking = [name for name in needed if name not in settings]
        if lacking:
            raise ModelFolderError(f"{file} has no {lacking[0]}; copy it again or start a new run")
        return settings

    def data(self) -> str:
        """What names the run's photos: a data set of the Hub by the commit that the run began with."""
        return str((self.origin() or {}).get("pinned") or self.config("data")["data"])

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the options again, where some of them were decided by the run itself."""
        self._write(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def check_exists(self) -> None:
        """Raises StorageError where the folder is gone, so that nothing makes another one that lacks the rest."""
        if not is_run(self.folder) or is_lost(self.lock_path):
            raise StorageError(
                f"the run folder {self.folder} no longer exists; restore it, then resume with: "
                f"{self.whole.resume_command}"
            )

    def identity(self) -> str | None:
        """What tells this run from any other, also from one of the same settings; None in a run of an older MGE.

        Raises:
            ModelFolderError: the file is damaged.
        """
        known: dict[str, str] = read_json(self.folder / IDENTITY, dict) or {}
        return known.get("id")

    def clear(self) -> None:
        """Empties the folder of a run that is not begun, but for its lock."""
        for path in self.folder.iterdir():
            if path.name != LOCK:
                remove(path)

    def remove(self) -> None:
        """Removes the folder; from the first moment on its name is free for others."""
        remove_folder(self.folder)

    def write_origin(self, origin: Mapping[str, Any]) -> None:
        """Writes with which options and photos the run began."""
        self._write_json(ORIGIN, dict(origin))

    def origin(self) -> dict[str, Any] | None:
        """With which options and photos the run began; None where that was not noted.

        Raises:
            ModelFolderError: the file is damaged.
        """
        origin: dict[str, Any] | None = read_json(self.folder / ORIGIN, dict)
        return origin

    def clear_unfinished(self) -> None:
        """Removes what a training that was killed was writing. Reports and exports may be written at this moment."""
        names = [f".{glob.escape(name)}-*{UNFINISHED}" for name in OWN]
        found = [path for name in names for path in self.folder.glob(name)]
        for path in (*found, *self.checkpoint_path.parent.glob(f".*{UNFINISHED}")):
            remove(path)
        for part in PARTS:
            if is_run(self.folder / part):
                type(self)(self.folder / part).clear_unfinished()

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch to metrics.csv.

        A run that goes on from a checkpoint may come by an epoch again: its row, and what came after it, are replaced.

        Args:
            row: Figures by their names; `stage` and `epoch` among them.
        """
        rows: list[Mapping[str, Any]] = [*self.metrics()]
        keys = [(old["stage"], old["epoch"]) for old in rows]
        key = (row["stage"], row["epoch"])
        rows = [*rows[: keys.index(key) if key in keys else None], dict(row)]
        columns = list(dict.fromkeys(name for entry in rows for name in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write(METRICS, text.getvalue())

    def metrics(self) -> list[dict[str, int | float]]:
        """Read the figures of the epochs so far; a row has no entry for what was not measured in its epoch.

        Raises:
            ModelFolderError: the file is damaged.
        """
        file = self.folder / METRICS
        if not file.exists():
            return []
        try:
            with file.open(newline="", encoding="utf-8") as opened:
                rows = list(csv.DictReader(opened))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ModelFolderError(f"{file} is damaged: {error}; remove it, or copy it again") from error
        if not all(row.get("stage") and row.get("epoch") for row in rows):  # spreadsheets may write semicolons
            raise ModelFolderError(f"{file} is damaged: a row has no stage or no epoch; remove it, or copy it again")
        try:
            if any(None in row for row in rows):
                raise ValueError("a row has more values than there are columns")
            return [{name: _number(text) for name, text in row.items() if text} for row in rows]
        except ValueError as error:
            raise ModelFolderError(f"{file} is damaged: {error}; remove it, or copy it again") from error

    def waiting_percent(self) -> float:
        """The percentage of the time of training, all epochs together, that was spent waiting for photos."""
        times = [(row["seconds"], row["data_wait_percent"]) for row in self.metrics()]
        return sum(seconds * percent for seconds, percent in times) / max(sum(seconds for seconds, _ in times), 1e-9)

    def write_skipped(self, photos: Sequence[Mapping[str, str]]) -> None:
        """Writes which photos the run leaves out, and why."""
        self._write_json(SKIPPED, [dict(photo) for photo in photos])

    def skipped(self) -> list[dict[str, str]] | None:
        """The photos that the run leaves out; None while nobody has looked.

        Raises:
            ModelFolderError: the file is damaged.
        """
        photos: list[dict[str, str]] | None = read_json(self.skipped_path, list)
        return photos

    def write_summary(self, figures: Mapping[str, Any]) -> None:
        """Writes the final figures."""
        self._write_json(SUMMARY, dict(figures))

    def summary(self) -> dict[str, Any]:
        """The final figures; empty while the run is not done.

        Raises:
            ModelFolderError: the file is damaged.
        """
        return read_json(self.folder / SUMMARY, dict, remedy="remove it and resume the run") or {}

    def write_right(self, right: Mapping[str, Sequence[bool]]) -> None:
        """Write which measured photos each part got right, in their order: what paired comparisons need."""
        self._write_json(RIGHT, {name: "".join(str(int(hit)) for hit in hits) for name, hits in right.items()})

    def right(self) -> dict[str, list[bool]]:
        """Return which measured photos each part got right; empty where that was not kept.

        Raises:
            ModelFolderError: the file is damaged.
        """
        kept = read_json(self.folder / RIGHT, dict, remedy="remove it") or {}
        return {name: [hit == "1" for hit in hits] for name, hits in kept.items()}

    def _write_json(self, name: str, content: object) -> None:
        """Writes JSON that people can read; a byte of a path that is no UTF-8 becomes an escape that JSON knows."""
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        self._write(name, text.encode("utf-8", "backslashreplace").decode())

    def _write(self, name: str, text: str) -> None:
        write_text_atomically(self.folder / name, text)


def read_json(file: Path, kind: type[Any], *, remedy: str = "copy it again or start a new run") -> Any:  # noqa: ANN401
    """What a JSON file holds that belongs to a run; None where there is none.

    Args:
        file: The file.
        kind: What it holds: a dict or a list.
        remedy: What to do where it is damaged.

    Raises:
        ModelFolderError: it is damaged.
    """
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{file} is damaged: {error}; {remedy}") from error
    if not isinstance(content, kind):
        raise ModelFolderError(f"{file} is damaged: it contains a {type(content).__name__}; {remedy}")
    return content


@contextlib.contextmanager
def hold_model(folder: Path) -> Iterator[None]:
    """Holds the lock of a model folder for a moment: that of its run, where it belongs to one.

    Raises:
        InUseError: another process goes on writing to it, such as a training.
        StorageError: the folder cannot be written to.
    """
    found = next((each for each in (folder, folder.resolve()) if is_run(each.parent)), None)
    if found is not None:
        run = Run(found.parent).whole
        with hold(run.lock_path, what=run.folder):
            yield
    else:
        place = folder.resolve()
        with hold(place.with_name(f".{place.name}{LOCK}"), what=folder):
            yield


def _number(text: str) -> int | float:
    """Read a figure as it was written: a whole number stays one."""
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def is_run(folder: str | Path) -> bool:
    """Whether this is a run folder, and not a model alone."""
    return (Path(folder) / CONFIG).is_file()


def open_run(folder: str | Path) -> Run:
    """A run that exists.

    Raises:
        ModelFolderError: there is none at this place.
    """
    if not is_run(folder):
        raise ModelFolderError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}; give a folder written by mge train"
        )
    return Run(Path(folder))


def find_model_folder(path: str | Path) -> Path:
    """The model folder that a run folder, a model folder or a name on the Hub stands for.

    Raises:
        ModelFolderError: there is no model.
    """
    if is_hub(path):
        return download_model(path)
    folder = Path(path)
    if not folder.exists():
        raise ModelFolderError(f"{str(path)!r} does not exist; give the folder of a run or a model")
    if not is_run(folder):
        return folder
    run = Run(folder)
    if not wait_for_folder(run.best):
        raise ModelFolderError(f"run {str(path)!r} has no model yet; resume it with: {run.resume_command}")
    return run.best
