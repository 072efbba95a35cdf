"""Loading of a classifier by its path, for `mge.load`. Imports torch only if needed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mge.errors import ConfigError, ModelFolderError
from mge.inference.onnx_cascade import FIRST, OnnxCascade
from mge.inference.onnx_classifier import OnnxClassifier
from mge.storage.checksum import sha256
from mge.storage.run_folder import find_model_folder

if TYPE_CHECKING:
    from mge.inference.classifier import Classifier


def load(path: str | os.PathLike[str], *, device: str = "cpu", fast: bool = False) -> "Classifier":
    """Load a trained classifier.

    Args:
        path: A run or its folder (the best model is taken), a model folder, `hf:owner/name` on the Hugging Face Hub, or
            an .onnx file or the folder of a cascade that `mge export` wrote. The last two give an `OnnxClassifier`,
            which has the same interface without torch, and no `model`.
        device: Device, by torch's name.
        fast: Whether to use a compiled graph, which is compiled and proven equal now if it is not cached: that takes
            minutes, once.

    Raises:
        ModelFolderError: there is no complete model at this path.
        ConfigError: it cannot run on this device; an .onnx file runs on the CPU only, and without a compiled graph.
    """
    path = path if isinstance(path, str) else Path(path)
    if _is_onnx(path):
        if device != "cpu" or fast:
            raise ConfigError(
                f"{path} runs in ONNX Runtime on the CPU; leave out device and fast, or load the run folder"
            )
        # The type cannot depend on the path's suffix; `mge predict` and most scripts use only what both have.
        return cast("Classifier", (OnnxCascade if Path(path).is_dir() else OnnxClassifier).load(path))
    from mge.inference.classifier import load_folder  # noqa: PLC0415  (imports torch)

    return load_folder(path, device=device, fast=fast)


def fingerprint(path: str | Path) -> str:
    """Return the unique fingerprint of a model: the SHA-256 of its description, which contains that of its weights.

    Raises:
        ModelFolderError: there is no model at this path.
    """
    if _is_onnx(path):
        file = Path(path) / FIRST if Path(path).is_dir() else Path(path)
    else:
        from mge.storage.model_folder import DESCRIPTION  # noqa: PLC0415  (imports torch)

        file = find_model_folder(path) / DESCRIPTION
    try:
        return sha256(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelFolderError(
            f"{str(path)!r} has no model: {file} does not exist; give the folder of a run or a model, or an .onnx file"
        ) from error


def load_known(path: str | os.PathLike[str], *, device: str = "cpu", fast: bool = False) -> tuple["Classifier", str]:
    """Load a classifier with its fingerprint, consistently even if it is being replaced."""
    path = path if isinstance(path, str) else Path(path)
    place = path if _is_onnx(path) else find_model_folder(path)
    while True:
        known = fingerprint(place)
        classifier = load(place, device=device, fast=fast)
        if fingerprint(place) == known:
            return classifier, known


def _is_onnx(path: str | Path) -> bool:
    """Return whether this is an exported graph, or a folder of those of a cascade."""
    return Path(path).suffix.lower() == ".onnx" or (Path(path) / FIRST).is_file()
