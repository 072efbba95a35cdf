"""Early exit: a photo leaves after the first expert at which the mixture so far has a sufficient top-2 margin.

Not part of the paper, where every expert sees every photo.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mge.core.losses import mix_experts

NO_EXIT = 2.0  # a threshold that no margin reaches


def prefix_gate(gate_probs: Float[Tensor, "B E"], *, num_experts: int) -> Float[Tensor, "B k"]:
    """Return the gate weights renormalised over the first k experts.

        g'[b, t] = g[b, t] / sum_{s < k} g[b, s]    for t < k

    A single expert has the weight 1. Experts whose gate weights are all 0 get equal weights.

    Args:
        gate_probs: Gate weights g of all experts.
        num_experts: Number k of experts that have run. With all of them the gate weights are returned unchanged,
            without a second rounding.
    """
    if num_experts == gate_probs.shape[1]:
        return gate_probs
    first = gate_probs[:, :num_experts].float().clamp_min(torch.finfo(torch.float32).tiny)
    return first / first.sum(1, keepdim=True)


def prefix_logits(
    joint_logits: Float[Tensor, "B E C"], gate_probs: Float[Tensor, "B E"], *, mix: Literal["logits", "probs"]
) -> Float[Tensor, "B E C"]:
    """Mix the first expert, the first two, and so on; the last entry is the whole mixture.

    y[:, k - 1] = mix_experts(joint_logits[:, :k], gate_so_far(g, k))    for k = 1 … E
    """
    mixtures = [
        mix_experts(joint_logits[:, :count], prefix_gate(gate_probs, num_experts=count), mix=mix)
        for count in range(1, joint_logits.shape[1] + 1)
    ]
    return torch.stack(mixtures, dim=1)


def top2_margin(logits: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Compute the top-2 margin: the probability of the top class among the two most probable classes, from 0.5 to 1.

        m = p_1 / (p_1 + p_2) = sigmoid(logit_1 - logit_2)

    Later experts change the prediction where the two classes are close, however much probability all the other classes
    have together.

    Source: best against second best, Joshi, Porikli, Papanikolopoulos, "Multi-class active learning for image
        classification", CVPR 2009.
    """
    best, second = logits.float().topk(2, dim=-1).values.unbind(-1)
    return (best - second).sigmoid()


def exit_indices(margins: Float[Tensor, "B K"], thresholds: Sequence[float]) -> Int[Tensor, " B"]:
    """Return the index of the expert after which each photo leaves.

        exit[b] = min{t : m[b, t] >= threshold[t]}, or E - 1 if there is none

    Args:
        margins: Top-2 margins m of the mixture so far, after each of the K = E - 1 experts before the last.
        thresholds: One threshold for each of them.
    """
    is_sure = margins >= margins.new_tensor(thresholds)
    return functional.pad(is_sure.int(), (0, 1), value=1).argmax(1)
