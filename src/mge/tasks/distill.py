"""`mge distill`: a mixture teaches one plain network, whose answer costs one forward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mge.config import Optimizer, Precision
from mge.tasks.train import name_data

if TYPE_CHECKING:
    from mge.storage.run_folder import Run


def distill(
    run: str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    format: str | None = None,  # noqa: A002  (the flag's name)
    image_column: str | None = None,
    label_column: str | None = None,
    temperature: float = 4.0,
    teacher_weight: float = 0.9,
    zoomed_weight: float = 1.0,
    part_filters: int = 0,
    backbone: str | None = None,
    pretrained: bool | None = None,
    weights: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    optimizer: Optimizer | None = None,
    backbone_lr: float | None = None,
    head_lr: float | None = None,
    weight_decay: float | None = None,
    warmup_epochs: float | None = None,
    label_smoothing: float | None = None,
    ema: float | None = None,
    jitter: float | None = None,
    workers: int | None = None,
    precision: Precision | None = None,
    accelerator: str | None = None,
    devices: str | None = None,
) -> Run:
    """Trains one plain network with a mixture as its teacher, for those who can pay for one forward only.

    The student sees what the teacher's first expert sees. Its run is one like any other: `mge predict`, `mge evaluate`
    and `mge train --resume` take it. Every option that is not given is the teacher's.

    Examples:
        mge distill runs/birds
        mge distill runs/birds --backbone resnet18 --out runs/small

    Args:
        run: The teacher: a finished run of a mixture.
        data: Photos to learn from, of the teacher's classes. By default the teacher's. Where they have no splits of
            their own, photos that the teacher knows stay in its splits.
        out: Folder of the student's run. By default a new one in `runs/`.
        format: How to read `data`: `auto`, or the name of a reader. By default as the teacher's were read, and `auto`
            for data of its own.
        image_column: Column of `data` with the photos or their paths; by default found by its name or type.
        label_column: Column of `data` with the classes; by default found by its name or type.
        temperature: What logits are divided by before student and teacher are compared.
        teacher_weight: How much the teacher's answer counts, from 0 to 1; the labels have the rest.
        zoomed_weight: How much the teacher's zoomed views, as further training pictures, count together beside the
            whole photo. 0 leaves them out.
        part_filters: Part filters for each class. 0 is a plain network; a few cost little beside the backbone, and the
            student may learn much more.
        backbone: Name of a timm model, where the student shall have another one.
        pretrained: Whether it starts from timm's ImageNet weights.
        weights: File with backbone weights to start from instead.
        epochs: Passes over the photos. By default as many as the teacher's stages take together.
        batch_size: Photos a step, over all devices.
        seed: Decides the order of photos, augmentation, dropout and first weights.
        optimizer: `sgd` with momentum 0.9, or `adamw`.
        backbone_lr: Highest learning rate of the backbone.
        head_lr: Highest learning rate of the heads.
        weight_decay: L2 penalty (`sgd`) or decoupled decay (`adamw`).
        warmup_epochs: Epochs during which the learning rate rises from 0.
        label_smoothing: Probability mass that the labels' share of the loss gives to the wrong classes.
        ema: Decay of the averaged weights that are evaluated and saved. 0 keeps none.
        jitter: Strength of the random change of brightness, contrast and saturation, from 0 to 1.
        workers: Number of processes that decode photos. -1 chooses by the machine.
        precision: Arithmetic of student and teacher: `float32`, `bfloat16`, or `auto`.
        accelerator: Lightning Fabric's accelerator: auto, cpu, cuda, mps.
        devices: Number of devices, or `auto`.

    Returns:
        The student's run, whose summary also has the teacher's accuracy.

    Raises:
        ModelFolderError: there is no such run.
        ConfigError: the run is not done or is no mixture, or an option has a value that it cannot take.
        DataError: the photos cannot be read, or have other classes than the teacher.
    """
    changes: dict[str, Any] = {
        "part_filters": part_filters, "backbone": backbone, "pretrained": pretrained, "weights": weights,
        "epochs": epochs, "batch_size": batch_size, "seed": seed, "optimizer": optimizer, "backbone_lr": backbone_lr,
        "head_lr": head_lr, "weight_decay": weight_decay, "warmup_epochs": warmup_epochs, "format": format,
        "label_smoothing": label_smoothing, "ema": ema, "jitter": jitter, "workers": workers, "precision": precision,
        "accelerator": accelerator, "devices": devices,
    }  # fmt: skip
    if data is not None:
        changes |= {"data": name_data(data), "format": format or "auto"}
    lesson = {"temperature": temperature, "teacher_weight": teacher_weight, "zoomed_weight": zoomed_weight}
    from mge.training.distillation import student_settings  # noqa: PLC0415
    from mge.training.run import train_run  # noqa: PLC0415

    given = {name: value for name, value in changes.items() if value is not None}
    columns = {"image_column": image_column, "label_column": label_column}
    given |= {name: value for name, value in columns.items() if data is not None or value is not None}
    settings = student_settings(run, changes=given, lesson=lesson)
    return train_run(settings, folder=None if out is None else Path(out), is_new=True)
