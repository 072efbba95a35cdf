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

from mge.config.previous_names import rename_options
from mge.errors import ConfigError, ModelFolderError, StorageError
from mge.notebook.frames import Rows
from mge.notebook.html import html_card, text_card
from mge.storage.environment import describe_environment
from mge.storage.files import UNFINISHED, remove, remove_folder, wait_for_folder, write_text_atomically
from mge.storage.hub import download_model, is_hub
from mge.storage.lock import LOCK, hold, is_lost
from mge.storage.model_facts import describe_run

CONFIG, ENVIRONMENT, METRICS, SUMMARY = "config.yaml", "environment.json", "metrics.csv", "summary.json"
# Settings that did not exist in earlier versions, with the values in use.
FIXED_THEN = {"head_layers": "none", "part_norm": "none", "interpolation": "bilinear", "fusion": "all"}
NAMED = ("data", "format", "preset")  # the settings besides the options
SKIPPED, ORIGIN, IDENTITY, RIGHT = "skipped.json", "origin.json", "run.json", "right.json"
MANIFEST, BEST, LAST = "photos.jsonl", "best", "last"
CACHE = "cache"  # features of a frozen backbone, until the heads are trained
PARTS = ("plain", "plain_equal_compute")  # folders of runs inside a run
# Files and folders that a training replaces in its folder, besides its checkpoints.
OWN = (CONFIG, ENVIRONMENT, METRICS, SUMMARY, SKIPPED, ORIGIN, IDENTITY, RIGHT, MANIFEST, BEST, LAST)


class Run(os.PathLike[str]):
    """A run folder, usable wherever a path is expected.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return text_card(f"Run({str(self.folder)!r})", self.facts())

    def _repr_html_(self) -> str:
        return html_card(f"Run {str(self.folder)!r}", self.facts())

    def facts(self) -> dict[str, str]:
        """Return what the run is and how far it is, in a few lines; a damaged file is one of them."""
        try:
            return describe_run(self.config(), self.metrics(), self.summary())
        except ModelFolderError as error:
            return {"damaged": str(error)}

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
        """Folder of images and the report."""
        return self.folder / "report"

    @property
    def manifest_path(self) -> Path:
        """Manifest of the photos of a run that was given a data frame."""
        return self.folder / MANIFEST

    @property
    def checkpoint_path(self) -> Path:
        """Checkpoint from which the run is resumed."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def skipped_path(self) -> Path:
        """List of the photos that the run leaves out."""
        return self.folder / SKIPPED

    @property
    def resume_command(self) -> str:
        """Shell command that resumes the run."""
        return f"mge train --resume {quote(str(self.folder))}"

    @property
    def whole(self) -> Self:
        """The run that contains a plain network's run; any other run itself."""
        is_part = self.folder.name in PARTS and is_run(self.folder.parent)
        return type(self)(self.folder.parent) if is_part else self

    @property
    def lock_path(self) -> Path:
        """The lock file of the run that this one is, or is part of."""
        return self.whole.folder / LOCK

    @staticmethod
    def make_folder(folder: Path) -> bool:
        """Claim a name for a new run by creating its folder.

        Returns:
            True if the folder was created, and so by no other process; False if the name exists already.

        Raises:
            ConfigError: its name is not valid text.
            StorageError: it cannot be created.
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
        """Raise an error if a folder is not there, or contains more than a run writes before its configuration.

        Raises:
            ConfigError: the name belongs to something else.
            StorageError: the folder was there a moment ago.
        """
        first = (LOCK, ENVIRONMENT, IDENTITY)
        try:
            names = os.listdir(folder)  # noqa: PTH208  (names, and not paths)
        except NotADirectoryError:
            names = [folder.name]
        except FileNotFoundError as error:
            raise StorageError(f"{folder} was removed by another process; run the same command again") from error
        if not all(name in first or name.endswith(UNFINISHED) for name in names):
            raise ConfigError(
                f"{folder} exists and is not empty; give another --out, or resume the run: --resume "
                f"{quote(str(folder))}"
            )

    @classmethod
    def create(cls, folder: Path, *, config: Mapping[str, Any], manifest: str | None = None) -> Self:
        """Create a run folder with its configuration, environment and identity.

        Args:
            folder: A folder that does not exist, or is empty; remains of a run that died before writing its
                configuration are removed.
            config: The resolved options, as `mge train --config` reads them.
            manifest: Text of a manifest that the run stores as its data, in place of the data in `config`.

        Raises:
            ConfigError: the place is occupied, or its name is not valid text.
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
        """Read the resolved options of the run.

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
        settings = rename_options({str(name): value for name, value in settings.items()})
        wrong = [name for name in NAMED if not isinstance(settings.get(name, ""), str)]
        if wrong:
            raise ModelFolderError(f"{file} is damaged: {wrong[0]} is not text; copy it again or start a new run")
        lacking = [name for name in needed if name not in settings]
        if lacking:
            raise ModelFolderError(f"{file} has no {lacking[0]}; copy it again or start a new run")
        return settings

    def data(self) -> str:
        """Return the name of the run's photos: a data set of the Hub with its commit at the start of the run."""
        return str((self.origin() or {}).get("pinned") or self.config("data")["data"])

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Rewrite the options, after the run itself has resolved some of them."""
        self._write(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def check_exists(self) -> None:
        """Raise StorageError if the folder is gone, so that no incomplete one is created in its place."""
        if not is_run(self.folder) or is_lost(self.lock_path):
            raise StorageError(
                f"the run folder {self.folder} no longer exists; restore it, then resume with: "
                f"{self.whole.resume_command}"
            )

    def identity(self) -> str | None:
        """Return the unique id of this run, which differs even for the same settings; None for runs of older versions.

        Raises:
            ModelFolderError: the file is damaged.
        """
        known: dict[str, str] = read_json(self.folder / IDENTITY, dict) or {}
        return known.get("id")

    def clear(self) -> None:
        """Empty the folder of a run that has not started, except for its lock."""
        for path in self.folder.iterdir():
            if path.name != LOCK:
                remove(path)

    def remove(self) -> None:
        """Remove the folder; its name is free for others at once."""
        remove_folder(self.folder)

    def write_origin(self, origin: Mapping[str, Any]) -> None:
        """Write the options and photos at the start of the run."""
        self._write_json(ORIGIN, dict(origin))

    def origin(self) -> dict[str, Any] | None:
        """Read the options and photos at the start of the run; None if they were not recorded.

        Raises:
            ModelFolderError: the file is damaged.
        """
        origin: dict[str, Any] | None = read_json(self.folder / ORIGIN, dict)
        if origin is not None and isinstance(origin.get("settings"), dict):
            origin["settings"] = rename_options(origin["settings"])
        return origin

    def clear_unfinished(self) -> None:
        """Remove the unfinished files of a killed training. Reports and exports may be written at this moment."""
        names = [f".{glob.escape(name)}-*{UNFINISHED}" for name in OWN]
        found = [path for name in names for path in self.folder.glob(name)]
        for path in (*found, *self.checkpoint_path.parent.glob(f".*{UNFINISHED}")):
            remove(path)
        for part in PARTS:
            if is_run(self.folder / part):
                type(self)(self.folder / part).clear_unfinished()

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append an epoch to metrics.csv.

        A run that resumes from a checkpoint may repeat an epoch: its row, and all later ones, are replaced.

        Args:
            row: Metrics by their names, including `stage` and `epoch`.
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

    def metrics(self) -> Rows:
        """Read the metrics of the epochs so far; a row has no entry for what was not measured in its epoch.

        The rows are a list of dictionaries; `run.metrics().to_frame()` is a pandas data frame.

        Raises:
            ModelFolderError: the file is damaged.
        """
        file = self.folder / METRICS
        try:
            with file.open(newline="", encoding="utf-8") as opened:
                rows = list(csv.DictReader(opened))
        except FileNotFoundError:
            return Rows()
        except (UnicodeDecodeError, csv.Error) as error:
            raise ModelFolderError(f"{file} is damaged: {error}; remove it, or copy it again") from error
        if not all(row.get("stage") and row.get("epoch") for row in rows):  # spreadsheets may write semicolons
            raise ModelFolderError(f"{file} is damaged: a row has no stage or no epoch; remove it, or copy it again")
        try:
            if any(None in row for row in rows):
                raise ValueError("a row has more values than there are columns")
            return Rows({name: _number(text) for name, text in row.items() if text} for row in rows)
        except ValueError as error:
            raise ModelFolderError(f"{file} is damaged: {error}; remove it, or copy it again") from error

    def waiting_percent(self) -> float:
        """Return the percentage of the training time, over all epochs, that was spent waiting for data."""
        times = [(row["seconds"], row["data_wait_percent"]) for row in self.metrics()]
        total = max(sum(seconds for seconds, _ in times), 1e-9)
        return float(sum(seconds * percent for seconds, percent in times) / total)

    def write_skipped(self, photos: Sequence[Mapping[str, str]]) -> None:
        """Write the photos that the run leaves out, with reasons."""
        self._write_json(SKIPPED, [dict(photo) for photo in photos])

    def skipped(self) -> list[dict[str, str]] | None:
        """Read the photos that the run leaves out; None before they have been scanned.

        Raises:
            ModelFolderError: the file is damaged.
        """
        photos: list[dict[str, str]] | None = read_json(self.skipped_path, list)
        return photos

    def write_summary(self, figures: Mapping[str, Any]) -> None:
        """Write the final metrics."""
        self._write_json(SUMMARY, dict(figures))

    def summary(self) -> dict[str, Any]:
        """Read the final metrics; empty while the run is not finished.

        Raises:
            ModelFolderError: the file is damaged.
        """
        return read_json(self.folder / SUMMARY, dict, remedy="remove it and resume the run") or {}

    def write_right(self, right: Mapping[str, Sequence[bool]]) -> None:
        """Write for each component which photos were predicted correctly, in order, for paired comparisons."""
        self._write_json(RIGHT, {name: "".join(str(int(hit)) for hit in hits) for name, hits in right.items()})

    def right(self) -> dict[str, list[bool]]:
        """Read for each component which photos were predicted correctly; empty if that was not recorded.

        Raises:
            ModelFolderError: the file is damaged.
        """
        kept = read_json(self.folder / RIGHT, dict, remedy="remove it") or {}
        return {name: [hit == "1" for hit in hits] for name, hits in kept.items()}

    def _write_json(self, name: str, content: object) -> None:
        """Write human-readable JSON; bytes of paths that are not UTF-8 become JSON escapes."""
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        self._write(name, text.encode("utf-8", "backslashreplace").decode())

    def _write(self, name: str, text: str) -> None:
        write_text_atomically(self.folder / name, text)


def read_json(file: Path, kind: type[Any], *, remedy: str = "copy it again or start a new run") -> Any:  # noqa: ANN401
    """Read a JSON file of a run; None if there is none.

    Args:
        file: The file.
        kind: Expected type: a dict or a list.
        remedy: Advice for a damaged file.

    Raises:
        ModelFolderError: it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{file} is damaged: {error}; {remedy}") from error
    if not isinstance(content, kind):
        raise ModelFolderError(f"{file} is damaged: it contains a {type(content).__name__}; {remedy}")
    return content


@contextlib.contextmanager
def hold_model(folder: Path) -> Iterator[None]:
    """Hold the lock of a model folder for a moment: that of its run, if it belongs to one.

    Raises:
        InUseError: another process is still writing to it, such as a training.
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
    """Parse a number as it was written: an integer stays one."""
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def is_run(folder: str | Path) -> bool:
    """Return whether this is a run folder, and not a model alone."""
    return (Path(folder) / CONFIG).is_file()


def open_run(folder: str | Path) -> Run:
    """Open an existing run.

    Raises:
        ModelFolderError: there is none at this place.
    """
    if not is_run(folder):
        raise ModelFolderError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}; give a folder written by mge train"
        )
    return Run(Path(folder))


def find_model_folder(path: str | Path) -> Path:
    """Return the model folder of a run folder, a model folder or a name on the Hub.

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
