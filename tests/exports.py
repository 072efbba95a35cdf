"""A tiny mixture on disk, as a model folder and exported."""

from pathlib import Path
from typing import Any

import torch

from mge.exporting.artifacts import describe, write_mixture
from mge.inference.classifier import Classifier
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, load_model, save_model
from tests.models.networks import build, expert_of
from tests.photos import COLORS


def save_mixture(folder: Path, model: MixtureOfExperts, **metadata: Any) -> Path:  # noqa: ANN401
    """A model folder of a network whose classes are colours."""
    preprocessing = {"preprocessing": {"resize": "short", "crop_fraction": 0.875}}
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    names = tuple(COLORS)[: model.num_classes]
    save_model(folder, StoredModel(model.config, names, state, preprocessing | metadata))
    return folder


def build_tiny(*, backbone: str = "test_resnet", experts: int = 2, **options: Any) -> MixtureOfExperts:  # noqa: ANN401
    """An untrained mixture that is quick to export; its maps have contrast, and so its boxes are parts of the view."""
    quick = {"size": 64, "zoom_resolution": 2.0, "output_stride": 8}
    model = build(backbone, num_classes=3, num_experts=experts, **{**quick, **options})
    with torch.no_grad():
        for number in range(experts):
            expert_of(model, number).large_head.weight.abs_()
    return model


def save_tiny(folder: Path, *, experts: int = 2, **metadata: Any) -> Path:  # noqa: ANN401
    """The model folder of such a mixture."""
    return save_mixture(folder, build_tiny(experts=experts), **metadata)


def export_folder(model: Path, folder: Path) -> Path:
    """The .onnx file of a model folder."""
    stored = load_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    return write_mixture(Classifier.from_stored(stored).model, describe(stored), folder)
