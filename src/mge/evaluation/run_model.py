"""What a trained mixture answers about a set of photos, and how good its parts are."""

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

# What is kept of a batch: tensors with a row for each photo, the first of them the photos' numbers in their data set.
Keep = Callable[[MixtureOutput, Batch], tuple[Tensor, ...]]


class EvalOutputs(NamedTuple):
    """What every part answered about N photos."""

    indices: Tensor  # (N,) the photos' numbers in their data set
    labels: Tensor  # (N,) the true classes
    logits: Tensor  # (N, C) the mixture
    mean_labels: Tensor  # (N,) the class that the plain mean of the experts' probabilities holds for likeliest
    gate_probs: Tensor  # (N, E)
    large_labels: Tensor  # (N, E) the class that each expert's large-part head answers
    part_labels: Tensor  # (N, E)
    joint_labels: Tensor  # (N, E)
    boxes_xyxy: Tensor  # (N, E, 4) what each expert saw, in pixels of the crop
    prefix_labels: Tensor  # (N, E) the class that the mixture of the experts up to each one answers
    prefix_margins: Tensor  # (N, E) how far it leads: what that class has of the probability of the two likeliest


def summarize(output: MixtureOutput, batch: Batch, *, mix: Mix) -> EvalOutputs:
    """One batch's output, reduced to what is worth keeping."""
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
    """What a mixture answers about a data set; see `run_over`."""
    keep = functools.partial(summarize, mix=model.config.mix)
    return EvalOutputs(*run_over(fabric, model, photos, keep=keep, batch_size=batch_size, verb=verb))


@torch.inference_mode()
def run_over(
    fabric: Fabric, model: MixtureOfExperts, photos: PhotoDataset, *, keep: Keep, batch_size: int,
    in_float32: bool = False, verb: str = "",
) -> tuple[Tensor, ...]:  # fmt: skip
    """Runs a mixture over a data set, in the mode of evaluation, and keeps something of each batch.

    Each process runs over its share, and all of them get what was kept of all photos: each exactly once, in order.

    Args:
        fabric: Where and in which precision it runs.
        model: The mixture; its mode is put back as it was.
        photos: The data set.
        keep: What is kept of a batch and the mixture's output.
        batch_size: Photos at a time, over all processes.
        in_float32: Whether it answers in float32 as `mge predict` does, whatever precision it is trained in.
        verb: What the first process says is done, while it shows how far it is. Empty: it shows nothing.
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
    """Accuracy in percent of every part, named as in summary.json."""
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
    """The parts of all processes; shares may be uneven, or empty."""
    if fabric.world_size == 1:
        return parts
    gathered: list[list[tuple[Tensor, ...]]] = [[] for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(gathered, parts)
    return [part for share in gathered for part in share]


def _in_order(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """All photos, by their numbers."""
    joined = [torch.cat(column) for column in zip(*parts, strict=True)]
    order = joined[0].argsort()
    return tuple(column[order] for column in joined)


def percent(hits: Tensor) -> float:
    """How many of some photos are hits."""
    return round(100 * hits.float().mean().item(), 2)
