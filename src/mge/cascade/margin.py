"""The cascade: a photo leaves after the expert whose answer, mixed with those before it, is sure enough.

Not of the paper, where every expert looks at every photo.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mge.core.losses import mix_experts

NO_EXIT = 2.0  # a threshold that no lead reaches


def prefix_gate(gate_probs: Float[Tensor, "B E"], *, num_experts: int) -> Float[Tensor, "B k"]:
    """How much each of the first experts counts among themselves.

    One expert alone counts fully, whatever the gate thinks of it. Experts whom it gives nothing at all count equally.

    Args:
        gate_probs: How much each expert counts in the whole mixture.
        num_experts: How many have looked. All of them: the gate's own word, not rounded a second time.
    """
    if num_experts == gate_probs.shape[1]:
        return gate_probs
    first = gate_probs[:, :num_experts].float().clamp_min(torch.finfo(torch.float32).tiny)
    return first / first.sum(1, keepdim=True)


def prefix_logits(
    joint_logits: Float[Tensor, "B E C"], gate_probs: Float[Tensor, "B E"], *, mix: Literal["logits", "probs"]
) -> Float[Tensor, "B E C"]:
    """The mixture of the first expert, of the first two, and so on; the last is the whole mixture."""
    mixtures = [
        mix_experts(joint_logits[:, :count], prefix_gate(gate_probs, num_experts=count), mix=mix)
        for count in range(1, joint_logits.shape[1] + 1)
    ]
    return torch.stack(mixtures, dim=1)


def top2_margin(logits: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """How far an answer leads: the likeliest class's share of the probability of the two likeliest, 0.5 (not) to 1.

    It is the logistic function of the difference of their logits. What later experts say turns an answer over where the
    two are close, however much probability all other classes have together.

    Source: best against second best, Joshi, Porikli, Papanikolopoulos, "Multi-class active learning for image
    classification", CVPR 2009.
    """
    best, second = logits.float().topk(2, dim=-1).values.unbind(-1)
    return (best - second).sigmoid()


def exit_indices(margins: Float[Tensor, "B K"], thresholds: Sequence[float]) -> Int[Tensor, " B"]:
    """Number of the expert after which each photo leaves: the first that is sure enough, otherwise the last.

    Args:
        margins: Of the mixture so far, after each of the K = E - 1 experts before the last.
        thresholds: One for each of them; a photo leaves where its lead reaches it.
    """
    is_sure = margins >= margins.new_tensor(thresholds)
    return functional.pad(is_sure.int(), (0, 1), value=1).argmax(1)
