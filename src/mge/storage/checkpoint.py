"""Checkpoints of a run for resuming it: weights, optimiser state, position.

Each checkpoint has its SHA-256 beside it, because torch silently reads a file with a flipped bit.
"""

import errno
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, is_zipfile

import torch

from mge.errors import ModelFolderError, first_line
from mge.storage.checksum import sha256
from mge.storage.files import write_atomically, write_text_atomically

# Exceptions of torch and zipfile for invalid files.
UNREADABLE = (
    BadZipFile,
    RuntimeError,
    UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; after a crash while writing, the previous one is still there.

    Args:
        path: The file. Its checksum is written beside it.
        state: Tensors and plain values, in dicts, lists and tuples.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; the previous checkpoint is still there.
    """
    checksums = _checksum_file(path)
    previous = checksums.read_text(encoding="utf-8") if checksums.exists() else ""

    def write(file: Path) -> None:
        _save(state, file)
        # Until the new file is renamed, a reader may find either file.
        write_text_atomically(checksums, f"{sha256(file)}  {path.name}\n{previous}")

    write_atomically(path, write)
    write_text_atomically(checksums, checksums.read_text(encoding="utf-8").partition("\n")[0] + "\n")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, restricted to tensors and plain values.

    Raises:
        ModelFolderError: it is missing or damaged.
    """
    try:
        _verify(path)
        if not is_zipfile(path):  # torch writes zip files; any other would be read as a bare pickle
            raise BadZipFile("it is not a zip file")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{error.filename} does not exist: there is no checkpoint to resume from; start a new run"
        ) from error
    except ModelFolderError:  # a ValueError as well, with its message already
        raise
    except UNREADABLE as error:
        raise ModelFolderError(f"{path} is not an MGE checkpoint: {first_line(error)}; start a new run") from error
    return state


def _verify(path: Path) -> None:
    """Compare a checkpoint with the checksum beside it.

    Raises:
        FileNotFoundError: one of the two is missing.
        ModelFolderError: they do not match.
    """
    checksums = _checksum_file(path)
    for file in (path, checksums):
        if not file.is_file():  # a pipe would block forever
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    if sha256(path) not in checksums.read_text(encoding="utf-8", errors="replace").split():
        raise ModelFolderError(f"{path} is damaged: its SHA-256 does not match; copy it again or start a new run")


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _save(state: dict[str, Any], path: Path) -> None:
    """Call `torch.save`, raising the system's own error if the disk is full."""
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
