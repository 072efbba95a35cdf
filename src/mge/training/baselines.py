"""Plain networks that a mixture is compared with."""

import dataclasses
import math

from mge.config import ModelConfig, Schedule, TrainConfig
from mge.training.workload import count_stages, photo_passes

Plan = tuple[ModelConfig, TrainConfig]


def plan_baselines(model: ModelConfig, config: TrainConfig) -> dict[str, Plan]:
    """Plan the plain networks requested by `config.baseline`, by the name of their folder.

    `plain` sees the same view and is trained for as many epochs as the mixture's stages together. `plain_equal_compute`
    sees as many pixels of the same photo as all the mixture's backbones together, so one prediction costs about the
    same; it is trained for so many epochs that its training costs the same too, and never for fewer than the mixture
    (one that is shared and trained on crops costs less).
    """
    num_stages = count_stages(model, config)
    single = dataclasses.replace(
        model, experts=1, share_experts=False, share_backbone=False, part_filters=0, gate="shared"
    )
    schedule: Schedule = "progressive" if config.cached_views else "joint"  # the same for one expert
    simple = dataclasses.replace(config, schedule=schedule, baseline="none")
    num_passes = model.experts + (model.gate == "own" and model.experts > 1)
    step = max(model.output_stride, 16)
    side = round(model.size * math.sqrt(num_passes) / step) * step
    larger = dataclasses.replace(single, size=side, zoom_resolution=max(1.0, model.size * model.zoom_resolution / side))
    same_cost = round(config.epochs * max(1, training_cost(model, config) / num_passes))
    plans = {
        "same_view": ("plain", (single, dataclasses.replace(simple, epochs=num_stages * config.epochs))),
        "equal_compute": ("plain_equal_compute", (larger, dataclasses.replace(simple, epochs=same_cost))),
    }
    return {name: plan for kind, (name, plan) in plans.items() if config.baseline in (kind, "both")}


def training_cost(model: ModelConfig, config: TrainConfig) -> float:
    """Return the cost of training on each photo `epochs` times, in passes of one network of the same view."""
    return sum(photo_passes(model, config, stage=stage) for stage in range(count_stages(model, config)))
