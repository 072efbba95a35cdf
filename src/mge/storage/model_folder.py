"""A trained mixture on disk: model.json, model.safetensors and a model card."""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mge.config import ModelConfig
from mge.errors import ConfigError, ModelFolderError
from mge.storage.files import sha256, write_atomically

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class StoredModel:
    """All that a model folder holds.

    Args:
        config: The architecture.
        class_names: Names of the classes, in the order of the logits.
        state: The network's weights.
        metadata: Preprocessing, provenance, thresholds: JSON-able.
    """

    config: ModelConfig
    class_names: tuple[str, ...]
    state: dict[str, Tensor]
    metadata: dict[str, Any]


def save_model(folder: Path, model: StoredModel) -> None:
    """Writes a model folder; one that was there is replaced when the new one is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = temporary / "model.safetensors"
        write_atomically(weights, lambda file: save_file(model.state, file))
        description = {
            "format_version": FORMAT_VERSION,
            "architecture": model.config.to_dict(),
            "class_names": list(model.class_names),
            "weights": {"file": weights.name, "sha256": sha256(weights), "bytes": weights.stat().st_size},
            **model.metadata,
        }
        text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        write_atomically(temporary / "model.json", lambda file: file.write_text(text, encoding="utf-8"))
        card = _model_card(model)
        write_atomically(temporary / "README.md", lambda file: file.write_text(card, encoding="utf-8"))
        temporary.chmod(0o755)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(folder: Path) -> StoredModel:
    """Reads a model folder; nothing is unpickled.

    Raises:
        ModelFolderError: it is missing, damaged, changed, or from a newer version of MGE.
    """
    file = folder / "model.json"
    if not file.is_file():
        raise ModelFolderError(f"{str(folder)!r} is no model folder: it has no model.json; give a folder that mge train wrote")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        version = description.pop("format_version")
        if version > FORMAT_VERSION:
            raise ModelFolderError(
                f"{file} has the format version {version}, and this MGE reads up to {FORMAT_VERSION}; update mge"
            )
        config = ModelConfig.from_dict(description.pop("architecture"))
        class_names = tuple(description.pop("class_names"))
        weights = description.pop("weights")
        weights_file = folder / Path(weights["file"]).name
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ModelFolderError(f"{file} is damaged: {error!r}; copy the folder again from where it came") from error
    return StoredModel(config, class_names, _load_weights(weights_file, expected=weights["sha256"]), description)


def _load_weights(file: Path, *, expected: str) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelFolderError(f"{file} is missing; copy the whole folder again from where it came")
    if sha256(file) != expected:
        raise ModelFolderError(f"{file} is damaged or was changed: its SHA-256 is not the one in model.json; copy it again")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ModelFolderError(f"{file} is no safetensors file: {error}") from error


def _replace(new: Path, folder: Path) -> None:
    """Puts a finished folder into place; the former one steps aside until then."""
    if not folder.exists():
        new.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(aside / "old")
    new.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _model_card(model: StoredModel) -> str:
    provenance = model.metadata.get("provenance", {})
    lines = [f"- {name}: {value}" for name, value in provenance.items()]
    classes = ", ".join(model.class_names)
    return "\n".join(
        [
            "# A mixture of granularity-specific experts",
            "",
            f"{model.config.experts} experts, backbone {model.config.backbone}, views of {model.config.size} px, trained "
            "with MGE. Load it with `mge.load(FOLDER)`, or use `mge predict FOLDER photo.jpg`.",
            "",
            f"{len(model.class_names)} classes: {classes}",
            "",
            "Where it comes from:",
            *lines,
            "",
        ]
    )
