"""Exports of model folders in the cache, for the server. Imports no torch."""

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

import mge
from mge.config.cache_folder import cache_folder
from mge.errors import ExportError, ModelFolderError
from mge.storage.files import remove, remove_oldest, write_text_atomically
from mge.storage.run_folder import find_model_folder

PACKAGE = Path(__file__).parents[1]
SOURCES = ("core", "models", "exporting")  # what an exported graph is made of
KEPT = 8  # exports in the cache; the oldest goes first


class NotExportedError(ModelFolderError):
    """A model that cannot be exported here."""


def find_export(model: Path, *, is_final: bool = False) -> Path:
    """Return a folder's .onnx file, exported by a child process if it is not cached, to keep torch out of this one.

    Args:
        model: The folder.
        is_final: Whether an earlier export that differed from the model is reason enough not to try again.

    Raises:
        ModelFolderError: there is no model.
        NotExportedError: it cannot be exported.
    """
    folder = find_model_folder(model)
    cache = cache_folder("onnx")
    key = _key(folder)
    file, refusal = cache / key / "model.onnx", cache / f"{key}.refused"
    if file.is_file():
        return file
    if is_final:
        with contextlib.suppress(FileNotFoundError):
            raise _not_exported(model, refusal.read_text(encoding="utf-8"))
    _say(f"Exporting {model} to {file}, once; this may take a minute ...")
    command = [sys.executable, "-m", "mge", "export", str(model), "--out", str(file.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines() or ["it stopped"]
    if done.returncode:
        reason = lines[-1].removeprefix("mge: error: ")
        if done.returncode == ExportError.exit_code:
            write_text_atomically(refusal, reason)
        raise _not_exported(model, reason)
    for line in lines:
        if line.startswith("Warning: "):
            _say(line)
    if _key(folder) != key:  # replaced meanwhile, and nobody knows which of the two was exported
        remove(file.parent)
        return find_export(model, is_final=is_final)
    remove_oldest(cache.iterdir(), kept=KEPT)
    return file


def _not_exported(model: Path, reason: str) -> NotExportedError:
    return NotExportedError(f"{model} could not be exported: {reason}; alternatively serve it with --backend torch")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _key(folder: Path) -> str:
    """Return a cache key that changes with the model (by its description) and with the code that exports it."""
    description = folder / "model.json"
    try:
        if not description.is_file():
            raise FileNotFoundError
        described = description.read_bytes()
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{str(folder)!r} is not a model folder: it has no model.json; give a folder written by mge train"
        ) from error
    sources = [file for name in SOURCES for file in sorted((PACKAGE / name).glob("*.py"))]
    parts = [mge.__version__.encode(), described, *(file.read_bytes() for file in sources)]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:32]
