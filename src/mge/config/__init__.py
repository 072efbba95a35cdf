"""All options of MGE with their defaults, accepted values and presets.

Frozen dataclasses hold the options by concern: the network (`ModelConfig`), the data (`DataConfig`), the training
(`TrainConfig`) and distillation (`DistillConfig`). Their field names are the names of the command-line options. They
validate themselves.
"""

from mge.config.checks import (
    INSTEAD,
    as_plain,
    check_choice,
    check_names,
    check_range,
    check_ranges,
    check_whole,
    suggest,
)
from mge.config.data import DataConfig, Interpolation, Resize
from mge.config.model import (
    NORMALIZATIONS,
    Attention,
    BoxMethod,
    CamTarget,
    Channels,
    FusedHeads,
    Gate,
    Geometry,
    HeadLayers,
    Mix,
    ModelConfig,
    PartHead,
    PartNorm,
    ZoomFrom,
    read_normalization,
    write_normalization,
)  # fmt: skip
from mge.config.presets import PRESETS, Preset, complete_options, split_options
from mge.config.student import DistillConfig, take_distillation
from mge.config.training import (
    Accelerator,
    Balance,
    Baseline,
    BatchNorm,
    Decay,
    Diversity,
    ExpertInit,
    FusionChoice,
    GateTemperature,
    Optimizer,
    Precision,
    Schedule,
    Strategy,
    TrainCamClass,
    TrainConfig,
)  # fmt: skip

__all__ = [
    "INSTEAD", "NORMALIZATIONS", "PRESETS", "Accelerator", "Attention", "Balance", "Baseline", "BatchNorm", "BoxMethod",
    "CamTarget", "Channels", "DataConfig", "Decay", "DistillConfig", "Diversity", "ExpertInit", "FusedHeads",
    "FusionChoice", "Gate", "GateTemperature", "Geometry", "HeadLayers", "Interpolation", "Mix", "ModelConfig",
    "Optimizer", "PartHead", "PartNorm", "Precision", "Preset", "Resize", "Schedule", "Strategy", "TrainCamClass",
    "TrainConfig", "ZoomFrom", "as_plain", "check_choice", "check_names", "check_range", "check_ranges", "check_whole",
    "complete_options", "read_normalization", "split_options", "suggest", "take_distillation", "write_normalization",
]  # fmt: skip
