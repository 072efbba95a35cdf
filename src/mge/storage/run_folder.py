"""A run on disk: its configuration, environment, metrics, models and summary."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Self

import yaml

from mge.errors import ConfigError, ModelFolderError, StorageError
from mge.storage.environment import describe_environment
from mge.storage.files import UNFINISHED, remove, write_text_atomically
from mge.storage.hub import download_model, is_hub

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "environment.json", "metrics.csv", "summary.json"
NAMED = ("data", "format", "preset")  # the settings that a run is opened by
SKIPPED, ORIGIN = "skipped.json", "origin.json"


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
        return self.folder / "best"

    @property
    def last(self) -> Path:
        """Model folder of the last epoch."""
        return self.folder / "last"

    @property
    def report(self) -> Path:
        """Folder of pictures and the report."""
        return self.folder / "report"

    @property
    def manifest_path(self) -> Path:
        """The photos of a run whose data were no file: a data frame."""
        return self.folder / "photos.jsonl"

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
        return type(self)(self.folder.parent) if is_run(self.folder.parent) else self

    @classmethod
    def create(cls, folder: Path, *, config: Mapping[str, Any], manifest: str | None = None) -> Self:
        """Makes a run folder with its configuration and environment.

        Args:
            folder: A folder that does not exist, or is empty; what a run left that died before it had a configuration
                is removed.
            config: The resolved options, as `mge train --config` reads them.
            manifest: The text of a manifest that the run keeps and that is its data, in place of what `config` says.

        Raises:
            ConfigError: there is something at this place already, or its name is no text.
            StorageError: it cannot be written.
        """
        try:
            str(folder).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{str(folder)!r} is no text in UTF-8, and no weights can be read from there; give another --out"
            ) from error
        if folder.is_dir() and not is_run(folder):
            _clear_stillborn(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder} exists and is not empty; give another --out, or go on: --resume {quote(str(folder))}"
            )
        run = cls(folder)
        if manifest is not None:
            write_text_atomically(run.manifest_path, manifest)
            config = {**config, "data": str(run.manifest_path.resolve())}
        run._write_json(ENVIRONMENT, describe_environment())
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
            raise ModelFolderError(f"{file} cannot be read: {error}; copy it again or train anew") from error
        if not isinstance(settings, dict):
            raise ModelFolderError(f"{file} is damaged: it has no settings; copy it again or train anew")
        wrong = [name for name in NAMED if not isinstance(settings.get(name, ""), str)]
        if wrong:
            raise ModelFolderError(f"{file} is damaged: {wrong[0]} is no text; copy it again or train anew")
        lacking = [name for name in needed if name not in settings]
        if lacking:
            raise ModelFolderError(f"{file} has no {lacking[0]}; copy it again or train anew")
        return settings

    def data(self) -> str:
        """What names the run's photos: a data set of the Hub by the commit that the run began with."""
        return str((self.origin() or {}).get("pinned") or self.config("data")["data"])

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the options again, where some of them were decided by the run itself."""
        self._write(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def check_exists(self) -> None:
        """Raises StorageError where the folder is gone, so that nothing makes another one that lacks the rest."""
        if not is_run(self.folder):
            raise StorageError(
                f"the run folder {self.folder} is gone; put it back, and go on with: {self.whole.resume_command}"
            )

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
        """Removes what a process that was killed was writing; who goes on with a run is alone in it."""
        for path in self.folder.rglob(f".*{UNFINISHED}"):
            remove(path)

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

    def _write_json(self, name: str, content: object) -> None:
        """Writes JSON that people can read; a byte of a path that is no UTF-8 becomes an escape that JSON knows."""
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        self._write(name, text.encode("utf-8", "backslashreplace").decode())

    def _write(self, name: str, text: str) -> None:
        write_text_atomically(self.folder / name, text)


def read_json(file: Path, kind: type[Any], *, remedy: str = "copy it again or train anew") -> Any:  # noqa: ANN401
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
        raise ModelFolderError(f"{file} is damaged: it holds a {type(content).__name__}; {remedy}")
    return content


def _number(text: str) -> int | float:
    """Read a figure as it was written: a whole number stays one."""
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _clear_stillborn(folder: Path) -> None:
    """Empties a folder that holds nothing but what a run writes before its configuration."""
    paths = list(folder.iterdir())
    if all(path.name == ENVIRONMENT or path.name.endswith(UNFINISHED) for path in paths):
        for path in paths:
            remove(path)


def is_run(folder: str | Path) -> bool:
    """Whether this is a run folder, and not a model alone."""
    return (Path(folder) / CONFIG).is_file()


def open_run(folder: str | Path) -> Run:
    """A run that exists.

    Raises:
        ModelFolderError: there is none at this place.
    """
    if not is_run(folder):
        raise ModelFolderError(f"{str(folder)!r} is no run folder: it has no {CONFIG}; give one that mge train wrote")
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
    if not run.best.is_dir():
        raise ModelFolderError(f"run {str(path)!r} has no model yet; go on with it: {run.resume_command}")
    return run.best
