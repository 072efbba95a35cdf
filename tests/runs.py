"""Model folders that tests make for themselves, without training."""

from pathlib import Path
from typing import Any

from mge.config import DataConfig
from mge.storage.model_folder import StoredModel, save_model
from tests.models.networks import build
from tests.photos import COLOURS


def write_model(folder: Path, *, class_names: tuple[str, ...] = tuple(COLOURS), **options: Any) -> Path:  # noqa: ANN401
    """The model folder of a mixture that has learned nothing, and answers all the same."""
    model = build(num_classes=len(class_names), **options)
    data = DataConfig().to_dict()
    metadata = {"preprocessing": {name: data[name] for name in ("resize", "crop_fraction")}}
    save_model(folder, StoredModel(model.config, class_names, dict(model.state_dict()), metadata))
    return folder
