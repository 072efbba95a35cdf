"""`mge bench`: the cost of a mixture relative to plain backbones."""

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
    """Benchmark inference and training of a mixture against plain backbones.

    The reference is the same timm backbone, run once per expert on images of the same size, with the same precision,
    memory layout and batch size. Absolute times depend on the machine and its load; the ratio is far more stable
    because the two sides are timed in alternation.

    Args:
        run: Run folder or model folder to time. Default: a new mixture built from the options below.
        backbone: Name of a timm model.
        experts: Number of experts.
        size: Side of the input view in pixels.
        gate: `own` (a backbone of its own) or `shared` (features of the first expert).
        num_classes: Number of classes.
        part_filters: Part filters per class. `auto`: the number that training chooses for this many classes.
        batch_size: Photos per batch.
        precision: `float32`, `bfloat16`, or `auto`.
        channels_last: Use the channels-last memory layout.
        rounds: Number of timings per side; the median is reported.
        accelerator: Accelerator for Lightning Fabric: cpu, cuda, auto.
        out: Write the results to this JSON file.

    Returns:
        The results: ratios, seconds, photos per second, parameters, bytes of activations.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ConfigError: an option has an invalid value, or the accelerator is not available.
    """
    num_classes = check_whole("num_classes", num_classes, at_least=1)
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    rounds = check_whole("rounds", rounds, at_least=1)
    place = None if out is None else check_file(out, flag="out", streams=True)
    from mge.console.tables import print_bench  # noqa: PLC0415
    from mge.inference.devices import choose_precision  # noqa: PLC0415
    from mge.storage.model_folder import load_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415
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
