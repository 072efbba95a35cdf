"""`mge convert`: a checkpoint of the authors' program converted to a model folder."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from mge.config import split_options
from mge.errors import ConfigError, DataError, ModelFolderError
from mge.storage.files import list_names
from mge.storage.output import check_folder

if TYPE_CHECKING:
    from mge.models.mixture import MixtureOfExperts

PROGRAM = "https://github.com/lbzhang/MGE-CNN"


def convert(checkpoint: str | Path, out: str | Path, *, class_names: str | Path | None = None) -> Path:
    """Convert a checkpoint of the authors' program to a model folder.

    The converted network computes exactly what the authors' program computes; its settings are stored with it.

    Examples:
        mge convert epoch_100.pth birds
        mge convert epoch_100.pth birds --class-names classes.txt

    Args:
        checkpoint: The .pth file: a state dict, or a training checkpoint that contains one. ResNet-50, -101 or -152.
        out: Folder to write. It must not exist, or be empty.
        class_names: Text file with one class name per line, in the order of the training labels, or CUB's classes.txt
            (`1 001.Black_footed_Albatross`). Default: class_000, class_001, …; `evaluate` matches classes by name and
            needs the real names.

    Returns:
        The model folder.

    Raises:
        ModelFolderError: the file is not such a checkpoint, or contains more than tensors and numbers.
        DataError: the number of class names differs from the number of classes.
        ConfigError: `out` exists already.
    """
    source, folder = Path(checkpoint), check_folder(out, flag="out")
    if list_names(folder):
        raise ConfigError(f"out is {str(out)!r}, which exists and is not empty; give a new folder")
    from mge.models.authors import from_authors  # noqa: PLC0415
    from mge.storage.model_folder import StoredModel, save_model  # noqa: PLC0415

    loaded = _load(source)
    model = from_authors(loaded)
    names = _read_names(None if class_names is None else Path(class_names), count=model.num_classes)
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_model(folder, StoredModel(model.config, names, state, _metadata(source, loaded)))
    sys.stdout.write(_farewell(folder, model, is_named=class_names is not None))
    return folder


def _load(file: Path) -> dict[str, Any]:
    """Load a checkpoint file without running any code in it.

    Raises:
        ModelFolderError: it is missing, unreadable, or needs more than numbers to be made.
    """
    from pickle import UnpicklingError  # noqa: PLC0415  (the error: nothing is unpickled but what torch allows)

    import torch  # noqa: PLC0415

    name = f"checkpoint {str(file)!r}"
    if not file.is_file():
        raise ModelFolderError(f"{name} does not exist; give a .pth file saved by the authors' program")
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols, before the error
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise ModelFolderError(
                f"{name} is not a PyTorch checkpoint, or is damaged; give a .pth file saved by the authors' program"
            ) from error
        raise ModelFolderError(
            f"{name} is refused: it contains {refused[1]}, and unpickling that would run code from the file; save only "
            "the network's state_dict() and convert that"
        ) from error
    except OSError as error:
        raise ModelFolderError(f"{name} is damaged, or cannot be read: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ModelFolderError(
            f"{name} is not a PyTorch checkpoint, or is damaged; give a .pth file saved by the authors' program"
        ) from error
    if not isinstance(loaded, dict):
        raise ModelFolderError(f"{name} contains a {type(loaded).__name__}; expected a state dict")
    return loaded


def _read_names(file: Path | None, *, count: int) -> tuple[str, ...]:
    """Read class names from a file, or number the classes without one.

    Raises:
        DataError: the file cannot be read, or has another number of names, or one twice.
    """
    from mge.data.labels import clean_label  # noqa: PLC0415
    from mge.data.sources.text_lines import read_lines  # noqa: PLC0415

    if file is None:
        return tuple(f"class_{number:03d}" for number in range(count))
    try:
        lines = [line.strip() for line in read_lines(file) if line.strip()]
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"class names {str(file)!r} cannot be read: {reason}; give a text file in UTF-8") from error
    if all(line.startswith(f"{number} ") for number, line in enumerate(lines, start=1)):  # CUB's classes.txt
        lines = [line.split(maxsplit=1)[1] for line in lines]
    lines = [clean_label(line) for line in lines]  # as the labels of data are
    if len(lines) != count:
        raise DataError(
            f"{str(file)!r} has {len(lines)} class names; the checkpoint has {count} classes: one name per line"
        )
    repeated = next((line for line in lines if lines.count(line) > 1), None)
    if repeated is not None:
        raise DataError(f"{str(file)!r} has the class name {repeated!r} more than once; give each class a unique name")
    return tuple(lines)


def _metadata(file: Path, loaded: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing of the authors' program, and the provenance of the weights."""
    from mge.data.photo import as_text  # noqa: PLC0415
    from mge.storage.checksum import sha256  # noqa: PLC0415

    data = split_options({}, preset="authors")[1]
    epoch = {"epoch": loaded["epoch"]} if isinstance(loaded.get("epoch"), int) else {}
    return {
        "preprocessing": {"resize": data.resize, "crop_fraction": data.crop_fraction},
        "provenance": {"converted_from": as_text(file.name), "sha256": sha256(file), "program": PROGRAM, **epoch},
    }


def _farewell(folder: Path, model: MixtureOfExperts, *, is_named: bool) -> str:
    """Describe the written model, and the next useful command."""
    written = f"{folder}: {model.config.backbone}, {model.config.experts} experts, {model.num_classes} classes\n"
    hint = "" if is_named else "Its classes are numbered; name them with --class-names FILE.\n"
    target = quote(str(folder))
    command = f"evaluate {target} DATA" if is_named else f"predict {target} photo.jpg"
    return f"{written}{hint}Next: mge {command}\n"
