"""A trained mixture on disk: model.json, model.safetensors and a model card.

model.json contains the checksum of the weights and its own, so a modified or damaged folder is refused.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mge.config import ModelConfig
from mge.config.previous_names import rename_options
from mge.errors import ModelFolderError, StorageError
from mge.storage.checksum import NO_CHECKSUM, seal, sha256, unseal
from mge.storage.files import list_names, wait_for_folder, write_folder_atomically
from mge.storage.model_card import write_card

FORMAT_VERSION = 4
# Format version → options that did not exist then, with the values in use.
FIXED_THEN: dict[int, dict[str, str]] = {
    1: {"cam_target": "class", "box_method": "threshold", "head_layers": "none", "part_norm": "none"},
    2: {"head_layers": "none", "part_norm": "none"},
    3: {},
    FORMAT_VERSION: {},  # some options have other names since
}
DESCRIPTION, WEIGHTS, CARD = "model.json", "model.safetensors", "README.md"
MAX_DESCRIPTION = 32_000_000  # bytes of model.json: enough for the names of hundreds of thousands of classes
ATTEMPTS = 50  # to read a folder while it is being replaced
COPY_AGAIN = "copy the whole folder again from the source"
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """Content of a model folder.

    Args:
        config: The architecture.
        class_names: Names of the classes, in the order of the logits.
        state: The network's weights.
        metadata: Preprocessing, provenance, fitted parameters: JSON-able.
        sha256: SHA-256 of the model.json that it was read from; empty if it was not read.
        weights_sha256: SHA-256 of the weights beside that.
    """

    config: ModelConfig
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str = ""
    weights_sha256: str = ""


def save_model(folder: Path, model: StoredModel) -> StoredModel:
    """Write a model folder atomically; an existing model is replaced once the new one is complete.

    A process that replaces a model holds its lock: that of the run, or see `hold_model`.

    Returns:
        The model as it is on disk now, with its checksums.

    Raises:
        StorageError: the disk is full, the folder cannot be written to, or contains something other than a model.
    """
    if DESCRIPTION not in (list_names(folder) or [DESCRIPTION]):
        raise StorageError(f"{folder} contains other files than a model; give another folder, or empty it")
    return write_folder_atomically(folder, lambda unfinished: _fill(unfinished, model))


def load_model(folder: Path) -> StoredModel:
    """Read a model folder; nothing is unpickled. If it is replaced meanwhile, it is read again.

    Raises:
        ModelFolderError: it is missing, damaged, modified, or from a newer version of MGE.
    """

    def read() -> StoredModel:
        described = load_description(folder)
        state = _load_weights(folder / WEIGHTS, digest=described.weights_sha256)
        return dataclasses.replace(described, state=state)

    return _at_one_moment(folder, read)


def copy_model(folder: Path, copy: Path) -> None:
    """Copy the files of a model in a consistent state.

    Args:
        folder: The model.
        copy: A folder that exists.

    Raises:
        ModelFolderError: it is missing, damaged, modified, or from a newer version of MGE.
    """

    def read() -> None:
        load_model(folder)
        for name in (DESCRIPTION, WEIGHTS, CARD):
            if (folder / name).exists():  # the card is optional
                shutil.copyfile(folder / name, copy / name)
        load_model(copy)

    _at_one_moment(folder, read)


def load_description(folder: Path) -> StoredModel:
    """Read the description of a model folder, without the weights.

    Raises:
        ModelFolderError: it is missing, damaged, modified, or from a newer version of MGE.
    """
    file = folder / DESCRIPTION
    try:
        if not file.is_file():  # a pipe would block forever
            raise FileNotFoundError
        description, own_digest = _read_description(file)
        config = ModelConfig.from_dict(description.pop("architecture"))
        class_names = _read_class_names(description.pop("class_names"))
        digest = str(description.pop("weights")["sha256"])
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{str(folder)!r} is not a model folder: it has no {DESCRIPTION}; give a folder written by mge train"
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFolderError):
            raise
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise ModelFolderError(f"{file} is damaged: {reason}; {COPY_AGAIN}") from error
    return StoredModel(config, class_names, {}, description, own_digest, digest)


def _at_one_moment(folder: Path, read: Callable[[], Result]) -> Result:
    """Read from a model folder, repeating until it was not replaced meanwhile.

    Otherwise the weights that were verified might not be those that are loaded a moment later.
    """
    for _ in range(ATTEMPTS):
        wait_for_folder(folder)
        before = _stamps(folder)
        try:
            result = read()
        except (ModelFolderError, OSError):
            if _stamps(folder) == before:
                raise
        else:
            if _stamps(folder) == before:
                return result
    raise ModelFolderError(f"{str(folder)!r} keeps changing while it is read; stop the process that writes to it")


def _stamps(folder: Path) -> list[tuple[int, ...] | None]:
    """Return inode, size and modification time of the files, which change when a model is replaced."""
    stamps: list[tuple[int, ...] | None] = []
    for name in (DESCRIPTION, WEIGHTS):
        try:
            found = (folder / name).stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    return stamps


def _fill(folder: Path, model: StoredModel) -> StoredModel:
    weights = folder / WEIGHTS
    _save_weights(model.state, weights)
    digest = sha256(weights)
    own = {
        "format_version": FORMAT_VERSION,
        "checksum": NO_CHECKSUM,
        "architecture": model.config.to_dict(),
        "class_names": list(model.class_names),
        "weights": {"sha256": digest, "bytes": weights.stat().st_size},
    }
    assert not own.keys() & model.metadata.keys(), "metadata uses a reserved key"
    text = json.dumps({**own, **model.metadata}, indent=1, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_bytes(seal(text.encode()))
    card = write_card(model.config, model.class_names, model.metadata)
    (folder / CARD).write_text(card, encoding="utf-8")
    return dataclasses.replace(model, sha256=sha256(folder / DESCRIPTION), weights_sha256=digest)


def _read_description(file: Path) -> tuple[dict[str, Any], str]:
    """Read model.json, verify its checksum, and return it with the SHA-256 of the file."""
    size = file.stat().st_size
    if size > MAX_DESCRIPTION:
        raise ModelFolderError(f"{file} has {size} bytes; accepted: up to {MAX_DESCRIPTION}")
    raw = file.read_bytes()
    description = unseal(raw, text=raw, file=file, newest=FORMAT_VERSION, remedy=COPY_AGAIN)
    version = description.pop("format_version")
    description["architecture"] = {**FIXED_THEN[version], **rename_options(description["architecture"])}
    return description, hashlib.sha256(raw).hexdigest()


def _read_class_names(names: list[str]) -> tuple[str, ...]:
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("class_names are not unique names")
    return tuple(names)


def _save_weights(state: dict[str, Tensor], file: Path) -> None:
    """Call `save_file`, raising the system's own error if the disk is full, and with ordinary file permissions."""
    file.touch()
    mode = file.stat().st_mode
    try:
        save_file(state, file)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
    file.chmod(mode)


def _load_weights(file: Path, *, digest: str) -> dict[str, Tensor]:
    try:
        if not file.is_file():
            raise FileNotFoundError
        if sha256(file) != digest:
            raise ModelFolderError(f"{file} is damaged or was modified: its SHA-256 does not match; {COPY_AGAIN}")
        return load_file(file)
    except FileNotFoundError as error:
        raise ModelFolderError(f"{file} is missing; {COPY_AGAIN}") from error
    except SafetensorError as error:
        raise ModelFolderError(f"{file} contains no weights: {error}; {COPY_AGAIN}") from error
