"""What `mge.load` does: the classifier that a path stands for. Imports torch only for what needs it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mge.errors import ConfigError
from mge.onnx_cascade import FIRST, OnnxCascade
from mge.onnx_classifier import OnnxClassifier
from mge.storage.checksum import sha256
from mge.storage.run_folder import find_model_folder

if TYPE_CHECKING:
    from mge.classifier import Classifier


def load(path: str | os.PathLike[str], *, device: str = "cpu", fast: bool | None = None) -> "Classifier":
    """Loads a trained classifier.

    Args:
        path: A run or its folder (the best model is taken), a model folder, `hf:owner/name` on the Hugging Face Hub, or
            an .onnx file or the folder of a cascade that `mge export` wrote. The last two give an `OnnxClassifier`,
            which answers in the same way without torch, and has no `model`.
        device: Where it shall run, as torch names it.
        fast: Whether it answers with a compiled graph, which is compiled with the first photos if it is not in the
            cache. None: where that is proven equal and saves time; see `FastPath`.

    Raises:
        ModelFolderError: there is no whole model at this path.
        ConfigError: it cannot run on this device; an .onnx file runs on the CPU only, and with no compiled graph.
    """
    path = path if isinstance(path, str) else Path(path)
    if _is_onnx(path):
        if device != "cpu" or fast:
            raise ConfigError(f"{path} runs in ONNX Runtime on the CPU; leave out device and fast, or give the run")
        # No type says what a path's suffix means; what both have is what `mge predict` and most scripts use.
        return cast("Classifier", (OnnxCascade if Path(path).is_dir() else OnnxClassifier).load(path))
    from mge.classifier import load_folder  # noqa: PLC0415  (imports torch)

    return load_folder(path, device=device, fast=fast)


def fingerprint(path: str | Path) -> str:
    """What tells a model from any other: the SHA-256 of what describes it, which holds that of its weights.

    Raises:
        ModelFolderError: there is no model at this path.
    """
    if _is_onnx(path):
        return sha256(Path(path) / FIRST if Path(path).is_dir() else Path(path))
    from mge.storage.model_folder import DESCRIPTION  # noqa: PLC0415  (imports torch)

    return sha256(find_model_folder(path) / DESCRIPTION)


def load_known(
    path: str | os.PathLike[str], *, device: str = "cpu", fast: bool | None = None
) -> tuple["Classifier", str]:
    """Loads a classifier, and tells its fingerprint, which is its own also where it is replaced at this moment."""
    path = path if isinstance(path, str) else Path(path)
    place = path if _is_onnx(path) else find_model_folder(path)
    while True:
        known = fingerprint(place)
        classifier = load(place, device=device, fast=fast)
        if fingerprint(place) == known:
            return classifier, known


def _is_onnx(path: str | Path) -> bool:
    """Whether this is an exported graph, or a folder of those of a cascade."""
    return Path(path).suffix.lower() == ".onnx" or (Path(path) / FIRST).is_file()
