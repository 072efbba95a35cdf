"""Every option of MGE, its default, what it accepts, and the presets.

Frozen dataclasses hold the options by concern: the network (`ModelConfig`), the photos (`DataConfig`), the training
(`TrainConfig`) and, of a student, what it learns from (`DistillConfig`). Their field names are the names of the command
line's flags. They validate themselves.
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
    AttentionTo,
    BoxShape,
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
from mge.config.presets import PRESETS, Preset, split_options
from mge.config.student import DistillConfig, take_distillation
from mge.config.training import (
    Accelerator,
    Balance,
    Baseline,
    BatchNorm,
    Decay,
    Diversity,
    Follow,
    FusionChoice,
    GateTrust,
    Optimizer,
    Precision,
    Schedule,
    Start,
    Strategy,
    TrainConfig,
)  # fmt: skip

__all__ = [
    "INSTEAD", "NORMALIZATIONS", "PRESETS", "Accelerator", "Attention", "AttentionTo", "Balance", "Baseline",
    "BatchNorm", "BoxShape", "Channels", "DataConfig", "Decay", "DistillConfig", "Diversity", "Follow", "FusedHeads",
    "FusionChoice", "Gate", "GateTrust", "Geometry", "HeadLayers", "Interpolation", "Mix", "ModelConfig", "Optimizer",
    "PartHead", "PartNorm", "Precision", "Preset", "Resize", "Schedule", "Start", "Strategy", "TrainConfig",
    "ZoomFrom", "as_plain", "check_choice", "check_names", "check_range", "check_ranges", "check_whole",
    "read_normalization", "split_options", "suggest", "take_distillation", "write_normalization",
]  # fmt: skip
