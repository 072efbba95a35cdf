"""Presets, and sorting of flat options into their classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from mge.config.checks import as_plain, check_choice, check_names
from mge.config.data import DataConfig
from mge.config.model import ModelConfig
from mge.config.previous_names import rename_keywords
from mge.config.training import TrainConfig
from mge.errors import ConfigError

Preset = Literal["default", "laptop", "best", "scratch", "paper", "authors"]
_CLASSES = (ModelConfig, DataConfig, TrainConfig)

# For backbones with pretrained weights: chosen on validation photos, see docs/results.md.
_FINE_TUNING: dict[str, Any] = {
    "share_experts": True,
    "schedule": "crops",
    "resized_crop": 0.1,
    "zoom_resolution": 2.0,
    "attention_threshold": 0.1,
    "batch_size": 32,
    "optimizer": "adamw",
    "backbone_lr": 5e-4,
    "head_lr": 2e-3,
    "weight_decay": 0.05,
    "warmup_epochs": 0.5,
    "label_smoothing": 0.1,
}

# What paper and program share, or the program alone says: its defaults and its configs/cub_resnet50.yml.
_PUBLISHED: dict[str, Any] = {
    # The network
    "backbone": "resnet50.tv_in1k",  # with torchvision's first ImageNet weights, not timm's own
    "experts": 3,
    "share_experts": False,
    "share_backbone": False,
    "size": 448,
    "zoom_resolution": 1.0,
    "output_stride": 0,
    "attention_threshold": 0.2,
    "attention_offset": 0.0,
    "part_filters": 10,
    "part_head": "dense",
    "part_norm": "none",
    "fused_heads": "joint",
    "head_layers": "pretrained",  # a ResNet has none
    "gate": "own",
    # The photos
    "val_fraction": 0.0,  # every training photo is trained on, and the last epoch counts
    "resize": "short",
    "interpolation": "bilinear",
    "crop_fraction": 0.875,  # 448 out of 512
    "flip": True,
    "jitter": 0.0,
    "resized_crop": 0.0,
    "randaugment": 0,
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    # The training
    "epochs": 100,
    "batch_size": 10,
    "expert_init": "pretrained",
    "freeze_backbone": False,
    "cached_views": 0,
    "train_cam_class": "label",
    "measure_offset": False,
    "pretrained": True,
    "optimizer": "sgd",
    "backbone_lr": 0.001,
    "head_lr": 0.01,
    "gate_lr": 0.01,
    "gate_from": 0.0,
    "gate_temperature": "none",
    "fusion": "all",
    "weight_decay": 1e-4,
    "warmup_epochs": 0.0,
    "decay": "step",
    "decay_epochs": 30,
    "label_smoothing": 0.0,
    "balance": "none",
    "diversity_weight": 1.0,
    "clip_norm": 0.0,
    "accumulate": 1,
    "ema": 0.0,
    "precision": "float32",
}

# What each preset sets: every option that its source determines, also where the default is the same today.
# `docs/deviations.md` has the source of each and the reasons for our defaults.
PRESETS: dict[Preset, dict[str, Any]] = {
    "default": _FINE_TUNING,
    # For CPUs: heads on a frozen backbone, whose features are computed once.
    "laptop": {
        "backbone": "tf_efficientnet_lite0",
        "share_backbone": True,
        "freeze_backbone": True,
        "cached_views": 2,
        "schedule": "progressive",
        "size": 160,
        "zoom_resolution": 2.0,
        "attention_threshold": 0.1,
        "batch_size": 32,
        "optimizer": "adamw",
        "backbone_lr": 5e-4,  # of a student, and where it is not frozen
        "head_lr": 2e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
    },
    # For backbones without pretrained weights: experts of their own, which learn together.
    "scratch": {},
    # A current backbone, and what such backbones are usually fine-tuned with. Not measured where this was written.
    "best": {
        **_FINE_TUNING,
        "backbone": "convnext_base.fb_in22k_ft_in1k_384",
        "size": 384,
        "zoom_resolution": 2.0,
        "randaugment": 9,
        "mixup": 0.2,
        "cutmix": 1.0,
        "erasing": 0.1,
        "epochs": 15,
        "batch_size": 32,
        "optimizer": "adamw",
        "backbone_lr": 5e-5,
        "head_lr": 1e-3,
        "weight_decay": 0.05,
        "warmup_epochs": 1.0,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "ema": 0.999,
    },
    "paper": {
        **_PUBLISHED,
        "zoom_from": "photo",
        "geometry": "pixels",
        "attention": "own",
        "cam_target": "class",
        "box_method": "threshold",
        "positive_weights": False,
        "part_padding": 0,
        "part_gradient": True,
        "mix": "probs",
        "normalization": "imagenet",
        "diversity": "paper",
        "schedule": "progressive",
        "freeze_previous": False,
    },
    "authors": {
        **_PUBLISHED,
        "zoom_from": "previous",
        "geometry": "authors",
        "attention": "first",
        "cam_target": "class",
        "box_method": "threshold",
        "positive_weights": True,
        "part_padding": 1,
        "part_gradient": False,
        "mix": "logits",
        "normalization": "half",
        "diversity": "authors",
        "schedule": "joint",
    },
}


def complete_options(options: Mapping[str, Any], *, preset: Preset = "default") -> dict[str, Any]:
    """Return the value of every option, not checked yet: as given, or the preset's, or the default.

    Args:
        options: Flat names and values, as the command line has them.
        preset: Whose values hold where `options` says nothing.

    Raises:
        ConfigError: a name is unknown, or there is no such preset.
    """
    check_choice("preset", preset, get_args(Preset))
    defaults = {field.name: field.default for cls in _CLASSES for field in dataclasses.fields(cls)}
    options = rename_keywords(options, stacklevel=3)
    check_names(options, known=list(defaults))
    return {name: as_plain(value) for name, value in {**defaults, **PRESETS[preset], **options}.items()}


def split_options(
    options: Mapping[str, Any], *, preset: Preset = "default"
) -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """Split flat options into the three classes, overriding the preset's values.

    Args:
        options: Flat names and values, as the command line has them.
        preset: Whose values hold where `options` says nothing.

    Raises:
        ConfigError: a name is unknown, a value is not accepted, or there is no such preset.
    """
    complete = complete_options(options, preset=preset)
    model, data, train = ({field.name: complete[field.name] for field in dataclasses.fields(cls)} for cls in _CLASSES)
    configs = ModelConfig(**model), DataConfig(**data), TrainConfig(**train)
    check_schedule(*configs)
    return configs


def check_schedule(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
    """Raise ConfigError where the schedule of training does not go with the network or the photos' views."""
    if model.share_backbone and not train.freeze_backbone:
        raise ConfigError(
            "share_backbone is true and freeze_backbone is false: experts share a backbone only if it is frozen; use "
            "freeze_backbone=true, or share_experts=true"
        )
    if train.cached_views:
        _check_cached(model, data, train)
    if model.share_experts and train.schedule == "progressive":
        raise ConfigError(
            "schedule is progressive and share_experts is true: progressive training needs separate experts; use "
            "schedule=joint or crops, or share_experts=false"
        )
    if train.schedule == "crops" and not (model.experts == 1 or model.share_experts):
        raise ConfigError(
            "schedule is crops and share_experts is false: the crops schedule trains one shared network; use "
            "share_experts=true, or schedule=joint"
        )
    if train.schedule == "crops" and not data.resized_crop:
        raise ConfigError(
            "schedule is crops and resized_crop is 0: the crops schedule needs random crops; use resized_crop=0.1"
        )


def _check_cached(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
    """Raise ConfigError for the first option under which features cannot be cached."""
    wrong = {
        "freeze_backbone=true": not train.freeze_backbone,
        "schedule=progressive": train.schedule != "progressive",
        "freeze_previous=true": not train.freeze_previous,
        "gate=shared": model.gate == "own" and model.experts > 1,
        "mixup=0": data.mixup > 0,
        "cutmix=0": data.cutmix > 0,
    }
    needed = [option for option, is_wrong in wrong.items() if is_wrong]
    if needed:
        raise ConfigError(
            f"cached_views is {train.cached_views}: features can be cached only with {' and '.join(needed)}; set that, "
            "or use cached_views=0"
        )
