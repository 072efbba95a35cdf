"""The training losses (classification, diversity, their sum) and the mixing of experts."""

import functools
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mge.core.outputs import ExpertOutput

Diversity = Literal["paper", "authors", "none"]
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


class Blend(NamedTuple):
    """The second photo that mixup or cutmix put into each image of a batch."""

    labels: Tensor  # (B,) its class
    share: float  # its share of the image: at most 0.5, so that the photo's own class stays the true one


def classification_loss(
    logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *, label_smoothing: float = 0.0,
    blend: Blend | None = None, class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """Compute the cross-entropy, averaged over the photos.

        L_cls = -1/B * sum_b class_weight[y_b] * log softmax(logits_b)[y_b]
        blended: (1 - share) * L_cls(labels) + share * L_cls(blend.labels)

    Args:
        logits: Logits of a head or of the mixture.
        labels: True classes y.
        label_smoothing: Probability mass given to the wrong classes.
        blend: The second photo in each image, whose class gets its share of the loss. None: there is none.
        class_weights: Weight of each class. None: all classes have the weight 1.

    Source: L_cls^t and L_gate of the paper, section 3.3, for each head and for the mixture.
    """
    own = _cross_entropy(logits, labels, label_smoothing=label_smoothing, class_weights=class_weights)
    if blend is None:
        return own
    other = _cross_entropy(logits, blend.labels, label_smoothing=label_smoothing, class_weights=class_weights)
    return (1 - blend.share) * own + blend.share * other


def diversity_paper(
    logits: Float[Tensor, "B C"], former_logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *,
    blend: Blend | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """Compute the diversity term: the similarity of two consecutive experts on the wrong classes, in (0, 1].

        P~ = P without the true class, renormalised to sum 1
        KL = sum_{c wrong} P~_previous[c] * log(P~_previous[c] / P~[c])
        L_KL = 1/B * sum_b exp(-KL_b)

    It is 1 for equal distributions and falls towards 0 the more they differ. Both classes of a blended image are
    removed. The divergence has no upper bound, and an expert could increase it without end by ruling out a class that
    the previous expert holds for probable. Hence `exp(-KL)` for each photo: its gradient `-exp(-KL) * dKL` fades as the
    divergence grows, so a photo on which the experts already differ has little effect.

    Args:
        logits: The expert's joint logits.
        former_logits: Joint logits of the previous expert, which receive no gradient.
        labels: True classes.
        blend: The second photo in each image, whose class is removed too. With two classes in total only the photo's
            own class is removed.

    Source: D_KL(P^t || P^{t+1}) of the paper, section 3.2 (the true class is removed and the rest renormalised).
    Differs: `exp(-KL)` bounds it, as the authors' program does entry by entry.
    """
    is_true = _is_true_class(logits, labels, blend)
    wrong = _log_probs_of_wrong(logits, is_true)
    former_wrong = _log_probs_of_wrong(former_logits.detach(), is_true)
    entries = former_wrong.exp() * (former_wrong - wrong)
    divergence = entries.masked_fill(is_true, 0.0).sum(1)
    return torch.exp(-divergence).mean()


def diversity_authors(
    logits: Float[Tensor, "B C"], former_logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *,
    blend: Blend | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """Compute the diversity term of the authors' program.

        L_KL = 1/(B * C) * sum_{b, c} exp(-P_previous[c] * (log P_previous[c] - log P[c]))

    with probabilities and log-probabilities of the true class set to 0, and the rest not renormalised.

    Args:
        logits: The expert's joint logits.
        former_logits: Joint logits of the previous expert, which receive no gradient.
        labels: True classes.
        blend: The second photo in each image, whose class is removed too. With two classes in total only the photo's
            own class is removed.

    Source: the authors' program, recorded in shared/official_parity.
    Differs: from the paper, by the missing renormalisation and by bounding each entry: with 200 classes nearly every
        entry is 1, so the term has almost no gradient.
    """
    is_true = _is_true_class(logits, labels, blend)
    former = functional.softmax(former_logits.detach().float(), dim=1).masked_fill(is_true, 0.0)
    this_log = functional.log_softmax(logits.float(), dim=1).masked_fill(is_true, 0.0)
    entries = torch.xlogy(former, former) - former * this_log
    return torch.exp(-entries).mean()


def expert_loss(
    output: ExpertOutput,
    former_logits: Float[Tensor, "B C"] | None,
    labels: Int[Tensor, " B"],
    *,
    diversity: Diversity = "paper",
    label_smoothing: float = 0.0,
    has_parts: bool = True,
    blend: Blend | None = None,
    class_weights: Float[Tensor, " C"] | None = None,
) -> ExpertLoss:
    """Compute the loss terms of one expert; a plain network without part filters has one head and one term.

        L^t = L_large + L_part + L_joint + diversity_weight * L_KL^t    (the sum: `ExpertLoss.total`)

    Args:
        output: The expert's output.
        former_logits: Joint logits of the previous expert, or None for the first expert, which has no diversity term.
        labels: True classes.
        diversity: Name of the diversity term, or none.
        label_smoothing: Probability mass given to the wrong classes by the classification terms.
        has_parts: Whether the expert has a part and a joint head.
        blend: The second photo in each image: the classification terms include its class, the diversity term removes it
            like the first. An expert that predicts it is right, and must not be pushed away from a previous one that
            does.
        class_weights: Weight of each class in the classification terms.

    Source: L_cls^t + L_KL^t of the paper, section 3.3.
    """
    classify = functools.partial(
        classification_loss, labels=labels, label_smoothing=label_smoothing, blend=blend, class_weights=class_weights
    )
    large = classify(output.large_logits)
    if not has_parts:
        nothing = torch.zeros_like(large)
        return ExpertLoss(large, nothing, nothing, nothing)
    part, joint = classify(output.part_logits), classify(output.joint_logits)
    if former_logits is None or diversity == "none":
        return ExpertLoss(large, part, joint, torch.zeros_like(large))
    term = {"paper": diversity_paper, "authors": diversity_authors}[diversity]
    return ExpertLoss(large, part, joint, term(output.joint_logits, former_logits, labels, blend=blend))


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


def temper_gate(gate_probs: Float[Tensor, "B E"], trust: float) -> Float[Tensor, "B E"]:
    """Apply an inverse temperature to the gate's logits: 0 gives equal weights, 1 leaves the gate unchanged.

    g' = softmax(trust * log g)
    """
    log_probs = gate_probs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    return (trust * log_probs).softmax(1)


def _cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float, class_weights: Tensor | None) -> Tensor:
    """Average over the photos, not over their weights, so that a photo has the same loss in any batch."""
    if class_weights is None:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    losses = functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing, reduction="none")
    return (class_weights[labels] * losses).mean()


def _is_true_class(logits: Tensor, labels: Tensor, blend: Blend | None) -> Bool[Tensor, "B C"]:
    """Mark the classes present in each image; of two classes in total only the photo's own."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    is_own = classes == labels.unsqueeze(1)
    if blend is None or len(classes) == 2:
        return is_own
    return is_own | (classes == blend.labels.unsqueeze(1))


def _log_probs_of_wrong(logits: Tensor, is_true: Tensor) -> Tensor:
    """Return log-probabilities renormalised over the wrong classes; minus infinity for the true ones."""
    return functional.log_softmax(logits.float().masked_fill(is_true, -torch.inf), dim=1)
