"""Distillation of a mixture into a single network: the teacher's outputs, the student's training step and settings.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from mge.config import DistillConfig, TrainConfig, as_plain, split_options, take_distillation
from mge.core.losses import smooth_targets
from mge.data.loader import Batch
from mge.data.records import PhotoSet
from mge.errors import ConfigError, DataError
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, load_description, load_model
from mge.storage.run_folder import NAMED, Run, find_model_folder, open_run
from mge.training.baselines import plan_baselines
from mge.training.distillation_loss import distillation_loss
from mge.training.step import Network, StepFigures


class TeacherOutput(NamedTuple):
    """Output of the teacher for a batch."""

    logits: Tensor  # (B, C) the mixture's logits
    views: list[Tensor]  # of (B, 3, h, w): the experts' views; the first is the whole photo


@torch.no_grad()
def teacher_forward(teacher: MixtureOfExperts, images: Tensor, *, class_order: Tensor) -> TeacherOutput:
    """Run the teacher; return the mixture's logits in the student's class order, and the experts' views."""
    passes = list(teacher.run_experts(teacher.normalize(images)))
    return TeacherOutput(teacher.combine(passes).logits[:, class_order], [expert_pass.view for expert_pass in passes])


@dataclasses.dataclass(frozen=True)
class StudentStep:
    """Training step of a student, in place of `train_step`.

    Args:
        teacher: A mixture in evaluation mode.
        class_order: (C,) index of each of the student's classes in the teacher.
        distillation: Weights and temperature of the distillation.
    """

    teacher: MixtureOfExperts
    class_order: Tensor
    distillation: DistillConfig

    def __call__(
        self, fabric: Fabric, network: Network, batch: Batch, targets: Tensor, /, *, config: TrainConfig
    ) -> StepFigures:
        """Accumulate one batch's gradients, holding the activations of one view at a time.

        The student learns the mixture's output for the photo from the whole photo and from each expert's view of it.
        Batch norm statistics are updated by whole photos only, which are the student's only input later.
        """
        with fabric.autocast():
            lesson = teacher_forward(self.teacher, batch.images, class_order=self.class_order)
        zoomed = lesson.views[1:] if self.distillation.zoomed_weight else []
        score = functools.partial(
            distillation_loss, teacher_logits=lesson.logits, targets=smooth_targets(targets, config.label_smoothing),
            temperature=self.distillation.temperature, teacher_weight=self.distillation.teacher_weight,
        )  # fmt: skip
        answer = torch.empty(0)
        losses = []
        for number, view in enumerate([lesson.views[0], *zoomed]):
            is_whole = number == 0
            with contextlib.nullcontext() if is_whole else keep_statistics(network.model):
                output = network.experts[0](view)
            heads = [output.large_logits]
            if network.model.config.has_parts:
                heads += [output.part_logits, output.joint_logits]
            loss = torch.stack([score(logits) for logits in heads]).sum()
            weight = 1.0 if is_whole else self.distillation.zoomed_weight / len(zoomed)
            fabric.backward(loss * weight / config.accumulate)
            losses.append(loss.detach() * weight)
            if is_whole:
                answer = output.joint_logits.detach().float()
            del output, loss
        hits = (answer.argmax(1) == batch.labels).sum()
        measured = torch.stack([torch.stack(losses).sum(), functional.cross_entropy(answer, batch.labels)])
        return StepFigures(measured, torch.stack([hits, hits]), torch.zeros(1))


@contextlib.contextmanager
def keep_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics unchanged; each batch is still normalised by itself."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def student_settings(teacher: str | Path, *, changes: Mapping[str, Any], lesson: Mapping[str, float]) -> dict[str, Any]:
    """Return the settings of a student's run: the teacher's, for a single network of the same view.

    It is trained for as many epochs as the teacher's stages together, like the plain network of `--baseline`.

    Args:
        teacher: The teacher's run folder.
        changes: Settings that differ from the teacher's.
        lesson: The weights and the temperature of `DistillConfig`.

    Raises:
        ModelFolderError: there is no such run.
        ConfigError: the run is not finished, or is not a mixture.
    """
    run = open_run(teacher)
    settings = run.config(*NAMED)
    options = {name: value for name, value in settings.items() if name not in NAMED}
    take_distillation(options)
    model, _, config = split_options(options, preset=settings["preset"])
    if model.experts == 1:
        raise ConfigError(
            f"run {str(teacher)!r} has 1 expert and already needs only one forward pass; give the run of a mixture"
        )
    if not run.summary():
        raise ConfigError(f"run {str(teacher)!r} is not finished; resume it with: {run.resume_command}")
    single, simple = plan_baselines(model, dataclasses.replace(config, baseline="same_view"))["plain"]
    weights = config.weights if changes.get("backbone", model.backbone) == model.backbone else None
    folder = run.folder.resolve()
    taught = DistillConfig(str(folder), teacher_sha256=load_description(run.best).weights_sha256, **lesson)
    tuned = {"schedule": "joint", "freeze_backbone": False, "cached_views": 0}  # it learns from the photos
    plain = {**settings, **single.to_dict(), **simple.to_dict(), **tuned, "weights": weights, "time_limit": None}
    if "backbone" in changes:
        plain["normalization"] = "auto"  # what its own weights expect
    return {**plain, **{name: as_plain(value) for name, value in changes.items()}, **taught.to_dict()}


def open_teacher(distillation: DistillConfig) -> tuple[Run, StoredModel]:
    """Open the run of a student's teacher, and its model with the weights at the start of the student's run.

    Raises:
        ModelFolderError: it does not exist any more.
        ConfigError: its weights have changed.
    """
    run = open_run(distillation.teacher)
    stored = load_model(find_model_folder(run.folder))
    digest = stored.weights_sha256
    if digest != distillation.teacher_sha256:
        raise ConfigError(
            f"the teacher {distillation.teacher} has other weights (SHA-256 {digest[:12]}…) than when this run began "
            f"({distillation.teacher_sha256[:12]}…); restore those, or start a new run: mge distill "
            f"{quote(distillation.teacher)}"
        )
    return run, stored


def match_classes(photos: PhotoSet, teacher_names: tuple[str, ...]) -> list[int]:
    """Return the index of each class of the photos in the teacher.

    Raises:
        DataError: one of them has a class that the other lacks.
    """
    remedy = (
        "the student needs the classes of its teacher, matched by name; give the data that the teacher was trained on"
    )
    unknown = [name for name in photos.class_names if name not in teacher_names]
    if unknown:
        raise DataError(f"{photos.name} has a class {unknown[0]!r} that the teacher does not have; {remedy}")
    missing = [name for name in teacher_names if name not in photos.class_names]
    if missing:
        raise DataError(f"{photos.name} has no class {missing[0]!r}, which the teacher has; {remedy}")
    return [teacher_names.index(name) for name in photos.class_names]
