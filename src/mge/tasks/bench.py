"""`mge bench`: what a mixture costs beside the plain networks that it is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from mge.config import Gate, ModelConfig, Precision, check_whole
from mge.storage.output import check_file, write_output


def bench(
    run: str | Path | None = None,
    *,
    backbone: str = "resnet50",
    experts: int = 3,
    size: int = 448,
    gate: Gate = "shared",
    num_classes: int = 200,
    part_filters: int | Literal["auto"] = "auto",
    batch_size: int = 4,
    precision: Precision = "float32",
    channels_last: bool = False,
    rounds: int = 5,
    accelerator: str = "cpu",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Times a forward and a training step of a mixture beside its floor, in turns.

    The floor is the same timm backbones, as many as the mixture has, called one after the other on pictures of the
    size of a view, in the same precision, layout and batch. Times depend on the machine and on what else it does; the
    ratio of two neighbours hardly does.

    Examples:
        mge bench --backbone resnet50 --experts 3
        mge bench runs/birds --accelerator cuda --out times.json

    Args:
        run: A run folder or a model folder whose mixture is timed. By default one of the options that follow.
        backbone: Name of a timm model.
        experts: Number of experts.
        size: Side of a view in pixels.
        gate: `own` or `shared`.
        num_classes: Number of classes.
        part_filters: Part filters for each class; `auto` is what training takes for so many classes.
        batch_size: Photos at a time.
        precision: `float32`, `bfloat16`, or `auto`.
        channels_last: Whether channels come last in memory.
        rounds: How often each side is timed; the median counts.
        accelerator: Lightning Fabric's accelerator: cpu, cuda, auto.
        out: JSON file for the figures.

    Returns:
        The figures: ratios, seconds, photos a second, parameters, bytes of activations.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ConfigError: an option has a value that it cannot take, or this machine has no such accelerator.
    """
    num_classes = check_whole("num_classes", num_classes, at_least=1)
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    rounds = check_whole("rounds", rounds, at_least=1)
    place = None if out is None else check_file(out, flag="out", streams=True)
    from mge.report.tables import print_bench  # noqa: PLC0415
    from mge.storage.model_folder import load_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415
    from mge.training.devices import choose_precision  # noqa: PLC0415
    from mge.training.timing import Bench, Case  # noqa: PLC0415

    config = ModelConfig(backbone=backbone, experts=experts, size=size, gate=gate, part_filters=part_filters)
    if run is not None:
        stored = load_model(find_model_folder(run))
        config, num_classes = stored.config, len(stored.class_names)
    case = Case(
        config, num_classes=num_classes, batch_size=batch_size,
        precision=choose_precision(precision, accelerator=accelerator), channels_last=channels_last, rounds=rounds,
        accelerator=accelerator,
    )  # fmt: skip
    timed = Bench(case)
    figures = {
        "backbone": config.backbone, "experts": config.experts, "size": config.size, "gate": config.gate,
        "num_classes": num_classes, "part_filters": timed.model.config.part_filters, "batch_size": batch_size,
        "precision": case.precision,
        "channels_last": channels_last, "rounds": rounds, "inference": timed.inference(),
        "training": timed.training(), "sizes": timed.sizes(),
    }  # fmt: skip
    if place is not None:
        write_output(place, json.dumps(figures, indent=1) + "\n")
    print_bench(figures)
    return figures
