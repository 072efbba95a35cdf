"""The options of a training that takes seconds, and what tells its weights from others."""

import hashlib
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "preset": "scratch",
    "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 2, "part_filters": 2, "batch_size": 4,
    "accelerator": "cpu", "optimizer": "adamw", "fusion": "all",
}  # fmt: skip
# Of a run that is compared with others, which differ from it in one thing.
SHORT = {**TINY, "schedule": "joint", "epochs": 2, "backbone_lr": 1e-3, "head_lr": 1e-3, "jitter": 0.2}


def digest(folder: Path) -> str:
    """Of the weights in a model folder."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
