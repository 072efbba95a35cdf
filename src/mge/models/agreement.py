"""How far a quicker answer agrees with the exact one, and asking again where that could decide the class."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from mge.core.localisation import box_iou
from mge.core.outputs import MixtureOutput

Mixture = Callable[[Tensor], MixtureOutput]  # what answers: the network, or a graph of it

PROBABILITY_DIFFERENCE, MEAN_IOU = 0.05, 0.95  # up to and from where two outputs count as equal


class Agreement(NamedTuple):
    """How far two answers to the same photos agree."""

    num_photos: int
    same_top1: float  # share of photos with the same likeliest class
    probability_difference: float  # the largest, over photos and classes
    mean_iou: float  # of the boxes that the experts after the first one saw
    worst_iou: float

    @property
    def is_equal(self) -> bool:
        """Whether the one can stand for the other, but for close calls (see `close_calls`)."""
        return self.probability_difference <= PROBABILITY_DIFFERENCE and self.mean_iou >= MEAN_IOU

    def with_more(self, other: "Agreement") -> "Agreement":
        """Both as if all photos had been compared at once."""
        count = self.num_photos + other.num_photos
        shares = (self.num_photos / count, other.num_photos / count)
        return Agreement(
            num_photos=count,
            same_top1=shares[0] * self.same_top1 + shares[1] * other.same_top1,
            # One that is NaN counts as the largest, wherever it stands.
            probability_difference=max(
                self.probability_difference, other.probability_difference, key=lambda each: (math.isnan(each), each)
            ),
            mean_iou=shares[0] * self.mean_iou + shares[1] * other.mean_iou,
            worst_iou=min(self.worst_iou, other.worst_iou),
        )

    def __str__(self) -> str:
        return (
            f"{100 * self.same_top1:.1f} % of {self.num_photos} photos with the same prediction, probabilities within "
            f"{self.probability_difference:.4f}, boxes with a mean IoU of {self.mean_iou:.3f} (worst "
            f"{self.worst_iou:.3f})"
        )


def compare(fast: MixtureOutput, exact: MixtureOutput) -> Agreement:
    """How far the fast path agrees with eager float32 on the same photos."""
    probs, exact_probs = (output.logits.float().softmax(1).cpu() for output in (fast, exact))
    boxes, exact_boxes = (output.boxes_xyxy[:, 1:].float().cpu().flatten(0, 1) for output in (fast, exact))
    ious = box_iou(boxes, exact_boxes) if len(boxes) else torch.ones(1)
    return Agreement(
        num_photos=len(probs),
        same_top1=(probs.argmax(1) == exact_probs.argmax(1)).float().mean().item(),
        probability_difference=(probs - exact_probs).abs().max().item(),
        mean_iou=ious.mean().item(),
        worst_iou=ious.min().item(),
    )


def close_calls(output: MixtureOutput, *, difference: float) -> Bool[Tensor, " B"]:
    """The photos whose answer another class could have if each probability were off by so much, or that have none: NaN.

    Args:
        output: An answer in a quicker arithmetic.
        difference: The largest that a probability is off by.
    """
    likeliest = output.logits.float().softmax(1).topk(2, dim=1).values
    return ~(likeliest[:, 0] - likeliest[:, 1] >= 2 * difference)


def ask_again(
    output: MixtureOutput, model: Mixture, images: Shaped[Tensor, "B 3 H W"], *, difference: float
) -> MixtureOutput:
    """An answer whose close calls are decided by the exact network.

    Args:
        output: What a quicker arithmetic said about the images.
        model: The exact network.
        images: uint8 pictures.
        difference: The largest that a probability of `output` is off by.
    """
    rows = close_calls(output, difference=difference).nonzero().squeeze(1)
    if not len(rows):
        return output
    exact = model(images[rows])
    return MixtureOutput(*(field.index_copy(0, rows, new) for field, new in zip(output, exact, strict=True)))
