"""`mge distill`: knowledge distillation of a mixture into one plain network."""

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
    """Distil a mixture into a single network (one forward pass per photo).

    The student sees the input of the first expert, the whole photo. Its run is an ordinary run: `mge predict`, `mge
    evaluate` and `mge train --resume` accept it. Options that are not given are taken from the teacher.

    Args:
        run: Teacher: the finished run of a mixture.
        data: Photos to train on, with the classes of the teacher. Default: the teacher's data. If the data has no
            splits, photos that the teacher has seen stay in the teacher's splits.
        out: Folder of the student's run. Default: a new folder in `runs/`.
        format: How to read `data`: `auto`, or the name of a reader. Default: as for the teacher, or `auto` with `data`.
        image_column: Column of `data` with the photos or their paths. Default: found by its name or type.
        label_column: Column of `data` with the class labels. Default: found by its name or type.
        temperature: Softmax temperature at which student and teacher are compared.
        teacher_weight: Weight of the distillation loss, from 0 to 1; the labels have the rest.
        zoomed_weight: Total loss weight of the teacher's zoomed views as extra training images; the whole photo has
            weight 1. 0 trains on whole photos only.
        part_filters: Part filters per class. 0 is a plain network. A few cost little and can raise the accuracy.
        backbone: Name of a timm model. Default: the teacher's.
        pretrained: Start from ImageNet weights (timm).
        weights: File with backbone weights to start from instead.
        epochs: Number of epochs. Default: the total over the teacher's stages.
        batch_size: Photos per step, over all devices.
        seed: Random seed of the photo order, augmentation, dropout and initialization.
        optimizer: `sgd` with momentum 0.9, or `adamw`.
        backbone_lr: Peak learning rate of the backbone.
        head_lr: Peak learning rate of the heads.
        weight_decay: L2 penalty (`sgd`) or decoupled weight decay (`adamw`).
        warmup_epochs: Epochs of linear learning-rate warmup.
        label_smoothing: Label smoothing of the hard-label loss.
        ema: Decay of the exponential moving average of the weights, which is evaluated and saved. 0: off.
        jitter: Strength of color jitter (brightness, contrast, saturation), from 0 to 1.
        workers: Number of data-loading processes. -1 chooses by the machine.
        precision: Precision of student and teacher: `float32`, `bfloat16`, or `auto`.
        accelerator: Accelerator for Lightning Fabric: auto, cpu, cuda, mps.
        devices: Number of devices, or `auto`.

    Returns:
        The student's run; its summary also contains the accuracy of the teacher.

    Raises:
        ModelFolderError: there is no such run.
        ConfigError: the run is unfinished or not a mixture, or an option has an invalid value.
        DataError: the photos cannot be read, or their classes differ from the teacher's.
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
