"""The training losses (classification, diversity, their sum) and the mixing of experts."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from mge.core.outputs import ExpertOutput

FusedHeads = Literal["joint", "all", "large"]


class ExpertLoss(NamedTuple):
    """Unweighted loss terms of one expert, each a scalar."""

    large: Tensor
    part: Tensor
    joint: Tensor
    diversity: Tensor

    def total(self, *, diversity_weight: float) -> Tensor:
        """Return the weighted sum of the terms.

        L^t = L_large + L_part + L_joint + diversity_weight * L_KL
        """
        return self.large + self.part + self.joint + diversity_weight * self.diversity


def smooth_targets(targets: Float[Tensor, "B C"], label_smoothing: float) -> Float[Tensor, "B C"]:
    """Spread a part of each photo's target evenly over all classes.

        t' = (1 - s) * t + s * mean_c(t)

    The sum of a row stays the same: it is the photo's weight in the cross-entropy `-1/B * sum_{b,c} t_bc * log P_bc`.

    Args:
        targets: One-hot labels, times the weight of the class; of a mixup or cutmix, both classes by their share.
        label_smoothing: The part s.
    """
    return (1 - label_smoothing) * targets + label_smoothing * targets.mean(1, keepdim=True)


def diversity_paper(
    logits: Float[Tensor, "B C"], previous_logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """Compute the diversity term: the similarity of two consecutive experts on the wrong classes, in (0, 1].

        P~ = P without the true class, renormalised to sum 1
        KL = sum_{c wrong} P~_previous[c] * log(P~_previous[c] / P~[c])
        L_KL = 1/B * sum_b exp(-KL_b)

    It is 1 for equal distributions and falls towards 0 the more they differ. Both classes of a blended image are
    removed: an expert that predicts either is right, and must not be pushed away from a previous one that does. The
    divergence has no upper bound, and an expert could increase it without end by ruling out a class that the previous
    expert holds for probable. Hence `exp(-KL)` for each photo: its gradient `-exp(-KL) * dKL` fades as the divergence
    grows, so a photo on which the experts already differ has little effect.

    Args:
        logits: The expert's joint logits.
        previous_logits: Joint logits of the previous expert, which receive no gradient.
        targets: Soft targets, which tell the true classes from the wrong ones; their weights do not count here.

    Source: D_KL(P^t || P^{t+1}) of the paper, section 3.2 (the true class is removed and the rest renormalised).
    Differs: `exp(-KL)` bounds it, as the authors' program does entry by entry.
    """
    is_true = _is_true_class(targets)
    wrong = _log_probs_of_wrong(logits, is_true)
    previous_wrong = _log_probs_of_wrong(previous_logits.detach(), is_true)
    entries = previous_wrong.exp() * (previous_wrong - wrong)
    divergence = entries.masked_fill(is_true, 0.0).sum(1)
    return torch.exp(-divergence).mean()


def diversity_authors(
    logits: Float[Tensor, "B C"], previous_logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """Compute the diversity term of the authors' program.

        L_KL = 1/(B * C) * sum_{b, c} exp(-P_previous[c] * (log P_previous[c] - log P[c]))

    with probabilities and log-probabilities of the true class set to 0, and the rest not renormalised.

    Args:
        logits: The expert's joint logits.
        previous_logits: Joint logits of the previous expert, which receive no gradient.
        targets: Soft targets, which tell the true classes from the wrong ones; their weights do not count here.

    Source: the authors' program, recorded in shared/official_parity.
    Differs: from the paper, by the missing renormalisation and by bounding each entry: with 200 classes nearly every
        entry is 1, so the term has almost no gradient.
    """
    is_true = _is_true_class(targets)
    previous = functional.softmax(previous_logits.detach().float(), dim=1).masked_fill(is_true, 0.0)
    this_log = functional.log_softmax(logits.float(), dim=1).masked_fill(is_true, 0.0)
    entries = torch.xlogy(previous, previous) - previous * this_log
    return torch.exp(-entries).mean()


def diversity_none(
    logits: Float[Tensor, "B C"], previous_logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    """Return 0: no diversity term."""
    del previous_logits, targets
    return torch.zeros((), device=logits.device)


# A function `diversity_NAME` of this file is the choice NAME of the option `diversity`: nothing else lists it.
DIVERSITY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    name.removeprefix("diversity_"): term for name, term in list(globals().items()) if name.startswith("diversity_")
}


def expert_loss(
    output: ExpertOutput, previous_logits: Float[Tensor, "B C"] | None, targets: Float[Tensor, "B C"], *,
    diversity: str = "paper", has_parts: bool = True,
) -> ExpertLoss:  # fmt: skip
    """Compute the loss terms of one expert; a plain network without part filters has one head and one term.

        L_head = -1/B * sum_{b,c} t_bc * log softmax(logits_b)[c]    (cross-entropy on soft targets t)
        L^t = L_large + L_part + L_joint + diversity_weight * L_KL^t    (the sum: `ExpertLoss.total`)

    Args:
        output: The expert's output.
        previous_logits: Joint logits of the previous expert, or None for the first expert, which has no diversity term.
        targets: Soft targets, smoothed where labels are: see `smooth_targets`.
        diversity: Name of the diversity term in `DIVERSITY`.
        has_parts: Whether the expert has a part and a joint head.

    Source: L_cls^t + L_KL^t of the paper, section 3.3.
    """
    large = functional.cross_entropy(output.large_logits.float(), targets)
    nothing = torch.zeros_like(large)
    if not has_parts:
        return ExpertLoss(large, nothing, nothing, nothing)
    part = functional.cross_entropy(output.part_logits.float(), targets)
    joint = functional.cross_entropy(output.joint_logits.float(), targets)
    if previous_logits is None:
        return ExpertLoss(large, part, joint, nothing)
    return ExpertLoss(large, part, joint, DIVERSITY[diversity](output.joint_logits, previous_logits, targets))


def fuse_heads(
    large_logits: Float[Tensor, "*B C"], part_logits: Float[Tensor, "*B C"], joint_logits: Float[Tensor, "*B C"], *,
    heads: FusedHeads,
) -> Float[Tensor, "*B C"]:  # fmt: skip
    """Combine the logits of an expert's three heads into the expert's logits.

        all: (large + part + joint) / 3

    Args:
        large_logits: Logits of the large-part head.
        part_logits: Logits of the small-part head.
        joint_logits: Logits of the joint head, which reads both features.
        heads: `joint` as in the paper, `large`, or the mean of `all` three, which is a product of experts.

    Differs: the paper predicts with the joint head.
    """
    if heads == "all":
        return (large_logits + part_logits + joint_logits) / 3
    return large_logits if heads == "large" else joint_logits


def mix_experts(
    joint_logits: Float[Tensor, "B E C"], gate_probs: Float[Tensor, "B E"], *, mix: Literal["logits", "probs"]
) -> Float[Tensor, "B C"]:
    """Mix the experts' logits or probabilities with the gate weights.

        logits: y = sum_t g_t * y^t
        probs: log P = log sum_t g_t * softmax(y^t)

    Args:
        joint_logits: The experts' logits y^t.
        gate_probs: Gate weights g_t.
        mix: `logits`, or `probs`, whose result is log-probabilities.

    Source: y = sum g_t y^t of the paper, section 3.4. Differs: the authors' program mixes logits.
    """
    weights, logits = gate_probs.float().unsqueeze(2), joint_logits.float()
    if mix == "logits":
        return (weights * logits).sum(1)
    log_weights = weights.clamp_min(torch.finfo(torch.float32).tiny).log()
    return torch.logsumexp(log_weights + functional.log_softmax(logits, dim=2), dim=1)


def temper_gate(gate_probs: Float[Tensor, "B E"], scale: float) -> Float[Tensor, "B E"]:
    """Apply an inverse temperature to the gate's logits: 0 gives equal weights, 1 leaves the gate unchanged.

    g' = softmax(scale * log g)
    """
    log_probs = gate_probs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    return (scale * log_probs).softmax(1)


def _is_true_class(targets: Tensor) -> Bool[Tensor, "B C"]:
    """Mark the classes in each image: those above what smoothing gives to all; of two in total, only the likelier."""
    return (targets > targets.amin(1, keepdim=True)).scatter(1, targets.argmax(1, keepdim=True), value=True)


def _log_probs_of_wrong(logits: Tensor, is_true: Tensor) -> Tensor:
    """Return log-probabilities renormalised over the wrong classes; minus infinity for the true ones."""
    return functional.log_softmax(logits.float().masked_fill(is_true, -torch.inf), dim=1)
