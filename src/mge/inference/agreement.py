"""Agreement of a faster path with the exact network, and the repetition of close calls."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from mge.core.crop import box_iou
from mge.core.outputs import MixtureOutput

Mixture = Callable[[Tensor], MixtureOutput]  # the network, or a graph of it

PROBABILITY_DIFFERENCE, MEAN_IOU = 0.05, 0.95  # tolerances within which two outputs are equal


class Agreement(NamedTuple):
    """Agreement of two outputs for the same photos."""

    num_photos: int
    same_top1: float  # fraction of photos with the same predicted class
    probability_difference: float  # the largest, over photos and classes
    mean_iou: float  # of the boxes seen by the experts after the first
    worst_iou: float

    @property
    def is_equal(self) -> bool:
        """Equality within the tolerances, except for close calls (see `close_calls`)."""
        return self.probability_difference <= PROBABILITY_DIFFERENCE and self.mean_iou >= MEAN_IOU

    def __str__(self) -> str:
        return (
            f"{100 * self.same_top1:.1f} % of {self.num_photos} photos with the same prediction, probabilities within "
            f"{self.probability_difference:.4f}, boxes with a mean IoU of {self.mean_iou:.3f} (worst "
            f"{self.worst_iou:.3f})"
        )


def compare(fast: MixtureOutput, exact: MixtureOutput) -> Agreement:
    """Compare the output of the fast path with eager float32 on the same photos."""
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
    """Find the photos whose predicted class could change if each probability were off by `difference`, or is NaN.

    Args:
        output: Output of a faster arithmetic.
        difference: Largest error of a probability.
    """
    likeliest = output.logits.float().softmax(1).topk(2, dim=1).values
    return ~(likeliest[:, 0] - likeliest[:, 1] >= 2 * difference)


def ask_again(
    output: MixtureOutput, model: Mixture, images: Shaped[Tensor, "B 3 H W"], *, difference: float
) -> MixtureOutput:
    """Recompute the close calls of an output with the exact network.

    Args:
        output: Output of a faster arithmetic for the images.
        model: The exact network.
        images: uint8 images.
        difference: Largest error of a probability of `output`.
    """
    rows = close_calls(output, difference=difference).nonzero().squeeze(1)
    if not len(rows):
        return output
    exact = model(images[rows])
    return MixtureOutput(*(field.index_copy(0, rows, new) for field, new in zip(output, exact, strict=True)))
