"""A run on disk: its configuration, environment, metrics, models and summary."""

import csv
import datetime
import importlib.metadata
import io
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from mge.errors import ConfigError, ModelFolderError
from mge.storage.files import write_atomically

PACKAGES = ("mge", "torch", "torchvision", "timm", "lightning-fabric", "pillow", "numpy", "safetensors")


class Run:
    """A run folder.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best, self.last, self.report = folder / "best", folder / "last", folder / "report"
        self.checkpoint_path = folder / "checkpoints" / "last.ckpt"

    @classmethod
    def create(cls, folder: Path, *, config: Mapping[str, Any]) -> Self:
        """Makes a run folder with its configuration and environment.

        Raises:
            ConfigError: there is something at this place already.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder} exists and is not empty; give another --out, or go on with it: --resume {folder}"
            )
        run = cls(folder)
        run._write("config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        run._write("environment.json", json.dumps(_environment(), indent=1) + "\n")
        return run

    def config(self) -> dict[str, Any]:
        """The resolved options that the run was started with."""
        settings: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        return settings

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch to metrics.csv; a row of the same stage and epoch is replaced."""
        key = (str(row["stage"]), str(row["epoch"]))
        rows = [old for old in self.metrics() if (old["stage"], old["epoch"]) != key] + [dict(row)]
        columns = list(dict.fromkeys(name for entry in rows for name in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
        self._write("metrics.csv", text.getvalue())

    def metrics(self) -> list[dict[str, Any]]:
        """The epochs so far, as text."""
        file = self.folder / "metrics.csv"
        if not file.exists():
            return []
        with file.open(newline="", encoding="utf-8") as opened:
            return list(csv.DictReader(opened))

    def write_summary(self, figures: Mapping[str, Any]) -> None:
        """Writes the final figures."""
        self._write("summary.json", json.dumps(dict(figures), indent=1) + "\n")

    def summary(self) -> dict[str, Any]:
        """The final figures; empty while the run is not done."""
        file = self.folder / "summary.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.folder / name, lambda file: file.write_text(text, encoding="utf-8"))


def open_run(folder: str | Path) -> Run:
    """A run that exists.

    Raises:
        ModelFolderError: there is none at this place.
    """
    run = Run(Path(folder))
    if not (run.folder / "config.yaml").is_file():
        raise ModelFolderError(
            f"{str(folder)!r} is no run folder: it has no config.yaml; give a folder that mge train wrote"
        )
    return run


def find_model_folder(path: str | Path) -> Path:
    """The model folder that a run folder or model folder stands for.

    Raises:
        ModelFolderError: there is no model.
    """
    folder = Path(path)
    if not folder.exists():
        raise ModelFolderError(
            f"{str(path)!r} does not exist; give a run folder or a model folder that mge train wrote"
        )
    if (folder / "config.yaml").is_file():
        if not (folder / "best").is_dir():
            raise ModelFolderError(f"run {str(path)!r} has no model yet; go on with it: mge train --resume {path}")
        return folder / "best"
    return folder


def _environment() -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "packages": versions,
    }
