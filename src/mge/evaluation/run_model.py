"""Outputs of a trained mixture on a set of photos, and the accuracy of its parts."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from mge.cascade.margin import prefix_logits, top2_margin
from mge.config import Mix
from mge.console.progress import show_progress
from mge.core.outputs import MixtureOutput
from mge.data.dataset import PhotoDataset
from mge.data.loader import Batch, epoch_batches, load_batches, num_workers
from mge.evaluation.metrics import balanced_accuracy
from mge.models.mixture import MixtureOfExperts

# Reduced output of a batch: tensors with one row per photo, the first of them the photos' indices in their data set.
Keep = Callable[[MixtureOutput, Batch], tuple[Tensor, ...]]


class EvalOutputs(NamedTuple):
    """Outputs of every component for N photos."""

    indices: Tensor  # (N,) the photos' numbers in their data set
    labels: Tensor  # (N,) the true classes
    logits: Tensor  # (N, C) the mixture
    mean_labels: Tensor  # (N,) the class predicted by the plain mean of the experts' probabilities
    gate_probs: Tensor  # (N, E)
    large_labels: Tensor  # (N, E) the class predicted by each expert's large-part head
    part_labels: Tensor  # (N, E)
    joint_labels: Tensor  # (N, E)
    boxes_xyxy: Tensor  # (N, E, 4) region seen by each expert, in pixels of the crop
    prefix_labels: Tensor  # (N, E) the class predicted by the mixture of the experts up to each one
    prefix_margins: Tensor  # (N, E) its top-2 margin: the top class's share of the probability of the two most probable


def summarize(output: MixtureOutput, batch: Batch, *, mix: Mix) -> EvalOutputs:
    """Reduce one batch's output to the parts needed for evaluation."""
    so_far = prefix_logits(output.joint_logits, output.gate_probs, mix=mix)
    mean = functional.softmax(output.joint_logits.float(), dim=2).mean(1)
    return EvalOutputs(
        indices=batch.indices.cpu(),
        labels=batch.labels.cpu(),
        logits=output.logits.float().cpu(),
        mean_labels=mean.argmax(1).cpu(),
        gate_probs=output.gate_probs.float().cpu(),
        large_labels=output.large_logits.argmax(2).cpu(),
        part_labels=output.part_logits.argmax(2).cpu(),
        joint_labels=output.joint_logits.argmax(2).cpu(),
        boxes_xyxy=output.boxes_xyxy.float().cpu(),
        prefix_labels=so_far.argmax(2).cpu(),
        prefix_margins=top2_margin(so_far).cpu(),
    )


def predict_photos(
    fabric: Fabric, model: MixtureOfExperts, photos: PhotoDataset, *, batch_size: int, verb: str = ""
) -> EvalOutputs:
    """Run a mixture on a data set; see `run_over`."""
    keep = functools.partial(summarize, mix=model.config.mix)
    return EvalOutputs(*run_over(fabric, model, photos, keep=keep, batch_size=batch_size, verb=verb))


@torch.inference_mode()
def run_over(
    fabric: Fabric, model: MixtureOfExperts, photos: PhotoDataset, *, keep: Keep, batch_size: int,
    in_float32: bool = False, verb: str = "",
) -> tuple[Tensor, ...]:  # fmt: skip
    """Run a mixture over a data set in evaluation mode, and keep a reduced output of each batch.

    Each process runs over its share, and all of them get the results of all photos: each exactly once, in order.

    Args:
        fabric: Devices and precision.
        model: The mixture; its mode is restored afterwards.
        photos: The data set.
        keep: Reduces the mixture's output for a batch to the tensors to keep.
        batch_size: Photos at a time, over all processes.
        in_float32: Whether to run in float32 as `mge predict` does, whatever the training precision.
        verb: Description shown by the first process beside its progress. Empty: no progress is shown.
    """
    was_training = model.training
    model.eval()
    parts = []
    batches = epoch_batches(
        len(photos), batch_size=batch_size, seed=0, epoch=0, shuffle=False, drop_last=False, rank=fabric.global_rank,
        world=fabric.world_size,
    )  # fmt: skip
    is_quiet = not verb or not fabric.is_global_zero
    with show_progress(verb, total=sum(map(len, batches)), is_quiet=is_quiet) as advance:
        for batch in load_batches(photos, batches, epoch=0, workers=num_workers(photos.config, photos)):
            moved = Batch(*(tensor.to(fabric.device, non_blocking=True) for tensor in batch))
            with contextlib.nullcontext() if in_float32 else fabric.autocast():
                parts.append(keep(model(moved.images), moved))
            advance(len(batch.labels))
    model.train(was_training)
    return _in_order(_over_processes(fabric, parts))


def measure(answers: EvalOutputs) -> dict[str, Any]:
    """Compute the accuracy of every component in percent, named as in summary.json."""
    labels = answers.labels

    def per_expert(predicted: Tensor) -> list[float]:
        return [percent(column == labels) for column in predicted.T]

    right = answers.joint_labels == labels.unsqueeze(1)
    return {
        "num_photos": len(labels),
        "mixture_top1": percent(answers.logits.argmax(1) == labels),
        "mixture_loss": round(functional.cross_entropy(answers.logits, labels).item(), 6),
        "balanced_top1": round(100 * balanced_accuracy(labels, answers.logits.argmax(1)), 2),
        "experts_top1": per_expert(answers.joint_labels),
        "large_top1": per_expert(answers.large_labels),
        "part_top1": per_expert(answers.part_labels),
        "mean_top1": percent(answers.mean_labels == labels),
        "oracle_top1": percent(right.any(1)),
        "gate_mean": [round(share, 4) for share in answers.gate_probs.mean(0).tolist()],
    }


def _over_processes(fabric: Fabric, parts: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Gather the parts of all processes; shares may be uneven, or empty."""
    if fabric.world_size == 1:
        return parts
    gathered: list[list[tuple[Tensor, ...]]] = [[] for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(gathered, parts)
    return [part for share in gathered for part in share]


def _in_order(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Concatenate the parts, sorted by the photos' indices."""
    joined = [torch.cat(column) for column in zip(*parts, strict=True)]
    order = joined[0].argsort()
    return tuple(column[order] for column in joined)


def percent(hits: Tensor) -> float:
    """Return the percentage of hits."""
    return round(100 * hits.float().mean().item(), 2)
