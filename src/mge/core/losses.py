"""What the experts and the gate learn from: classification terms, diversity terms, their sum."""

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
    """The terms of one expert's loss, each a scalar, unweighted."""

    large: Tensor
    part: Tensor
    joint: Tensor
    diversity: Tensor

    def total(self, *, diversity_weight: float) -> Tensor:
        """Their sum, with the diversity term weighted."""
        return self.large + self.part + self.joint + diversity_weight * self.diversity


class Blend(NamedTuple):
    """A second photo in each picture of a batch, which mixup and cutmix put there."""

    labels: Tensor  # (B,) its class
    share: float  # how much of the picture is its: at most 0.5, so that the photo's own class stays the true one


def classification_loss(
    logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *, label_smoothing: float = 0.0,
    blend: Blend | None = None, class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """Cross-entropy, the mean over the photos.

    Args:
        logits: What a head, or the mixture, said.
        labels: True classes.
        label_smoothing: Probability mass given to the wrong classes.
        blend: The second photo in each picture: its class takes its share of the loss. None: there is none.
        class_weights: By how much a photo of each class counts. None: all count alike.

    Source: section 3.3 of the paper, for each head and for the mixture.
    """
    own = _cross_entropy(logits, labels, label_smoothing=label_smoothing, class_weights=class_weights)
    if blend is None:
        return own
    other = _cross_entropy(logits, blend.labels, label_smoothing=label_smoothing, class_weights=class_weights)
    return (1 - blend.share) * own + blend.share * other


def diversity_paper(
    logits: Float[Tensor, "B C"], previous_logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *,
    blend: Blend | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """How alike two consecutive experts see the wrong classes: 1 when the same, towards 0 the more they differ.

    The true class (both classes of a blended picture) is taken out of both distributions, the rest is renormalised, and
    KL(former || this) is the sum over the wrong classes. The divergence has no upper bound and an expert could drive it
    up for ever by ruling out a class that the former holds for likely. So the term is `exp(-KL)`, photo by photo:
    between 0 and 1, its gradient `-exp(-KL) * dKL` fades as the divergence grows, and a photo on which the experts
    already differ is left alone.

    Args:
        logits: The expert's joint logits.
        previous_logits: Those of the expert before it, which receive no gradient.
        labels: True classes.
        blend: The second photo in each picture, whose class is no wrong one either. Of two classes in all, the own one
            alone is taken out.

    Source: section 3.2 of the paper (the most likely, true class is removed and the rest renormalised).
    Differs: `exp(-KL)` bounds it, as the authors' program does entry by entry.
    """
    is_true = _is_true_class(logits, labels, blend)
    wrong = _log_probs_of_wrong(logits, is_true)
    previous_wrong = _log_probs_of_wrong(previous_logits.detach(), is_true)
    entries = previous_wrong.exp() * (previous_wrong - wrong)
    divergence = entries.masked_fill(is_true, 0.0).sum(1)
    return torch.exp(-divergence).mean()


def diversity_authors(
    logits: Float[Tensor, "B C"], previous_logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], *,
    blend: Blend | None = None,
) -> Float[Tensor, ""]:  # fmt: skip
    """The diversity term of the authors' program.

    Probabilities and log-probabilities of the true class are set to 0, the rest is not renormalised, and the mean of
    `exp(-former * (log former - log this))` is taken over photos and classes.

    Args:
        logits: The expert's joint logits.
        previous_logits: Those of the expert before it, which receive no gradient.
        labels: True classes.
        blend: The second photo in each picture, whose class is no wrong one either. Of two classes in all, the own one
            alone is taken out.

    Source: the authors' program, recorded in shared/official_parity.
    Differs: from the paper, by the missing renormalisation and by bounding each entry: with 200 classes nearly every
        entry is 1, so the term has almost no gradient.
    """
    is_true = _is_true_class(logits, labels, blend)
    previous = functional.softmax(previous_logits.detach().float(), dim=1).masked_fill(is_true, 0.0)
    this_log = functional.log_softmax(logits.float(), dim=1).masked_fill(is_true, 0.0)
    entries = torch.xlogy(previous, previous) - previous * this_log
    return torch.exp(-entries).mean()


def expert_loss(
    output: ExpertOutput,
    previous_logits: Float[Tensor, "B C"] | None,
    labels: Int[Tensor, " B"],
    *,
    diversity: Diversity = "paper",
    label_smoothing: float = 0.0,
    has_parts: bool = True,
    blend: Blend | None = None,
    class_weights: Float[Tensor, " C"] | None = None,
) -> ExpertLoss:
    """The terms of one expert's loss. An expert without part filters (a plain network) has one head, and one term.

    Args:
        output: What the expert said.
        previous_logits: Joint logits of the expert before it, or None for the first expert, which has no diversity
            term.
        labels: True classes.
        diversity: Which diversity term, or none.
        label_smoothing: Probability mass given to the wrong classes by the classification terms.
        has_parts: Whether the expert has a part and a joint head.
        blend: The second photo in each picture: the classification terms count its class, the diversity term takes it
            out like the first. An expert that sees it is right, and must not be driven away from a former one that is.
        class_weights: By how much a photo of each class counts in the classification terms.

    Source: section 3.3 of the paper.
    """
    classify = functools.partial(
        classification_loss, labels=labels, label_smoothing=label_smoothing, blend=blend, class_weights=class_weights
    )
    large = classify(output.large_logits)
    if not has_parts:
        nothing = torch.zeros_like(large)
        return ExpertLoss(large, nothing, nothing, nothing)
    part, joint = classify(output.part_logits), classify(output.joint_logits)
    if previous_logits is None or diversity == "none":
        return ExpertLoss(large, part, joint, torch.zeros_like(large))
    term = {"paper": diversity_paper, "authors": diversity_authors}[diversity]
    return ExpertLoss(large, part, joint, term(output.joint_logits, previous_logits, labels, blend=blend))


def fuse_heads(
    large_logits: Float[Tensor, "*B C"], part_logits: Float[Tensor, "*B C"], joint_logits: Float[Tensor, "*B C"], *,
    heads: FusedHeads,
) -> Float[Tensor, "*B C"]:  # fmt: skip
    """Return an expert's answer out of those of its heads.

    Args:
        large_logits: Of the large-part head.
        part_logits: Of the small-part head.
        joint_logits: Of the head that reads both.
        heads: `joint` as in the paper, `large`, or the mean of `all` three, which is a product of experts.

    Differs: the paper answers with the joint head.
    """
    if heads == "all":
        return (large_logits + part_logits + joint_logits) / 3
    return large_logits if heads == "large" else joint_logits


def mix_experts(
    joint_logits: Float[Tensor, "B E C"], gate_probs: Float[Tensor, "B E"], *, mix: Literal["logits", "probs"]
) -> Float[Tensor, "B C"]:
    """The mixture of the experts' answers.

    Args:
        joint_logits: The experts' logits.
        gate_probs: How much each expert counts.
        mix: Whether logits are mixed, or probabilities; then the result is their logarithm.

    Source: section 3.4 of the paper. Differs: the authors' program mixes logits.
    """
    weights, logits = gate_probs.float().unsqueeze(2), joint_logits.float()
    if mix == "logits":
        return (weights * logits).sum(1)
    log_weights = weights.clamp_min(torch.finfo(torch.float32).tiny).log()
    return torch.logsumexp(log_weights + functional.log_softmax(logits, dim=2), dim=1)


def temper_gate(gate_probs: Float[Tensor, "B E"], trust: float) -> Float[Tensor, "B E"]:
    """What a gate says when its logits are multiplied: 0 counts all experts the same, 1 leaves it as it is."""
    log_probs = gate_probs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    return (trust * log_probs).softmax(1)


def _cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float, class_weights: Tensor | None) -> Tensor:
    """The mean over the photos, not over their weights: so a photo counts the same in whatever batch it comes."""
    if class_weights is None:
        return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    losses = functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing, reduction="none")
    return (class_weights[labels] * losses).mean()


def _is_true_class(logits: Tensor, labels: Tensor, blend: Blend | None) -> Bool[Tensor, "B C"]:
    """The classes that are in each picture; the own one alone where there would be no wrong one left."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    is_own = classes == labels.unsqueeze(1)
    if blend is None or len(classes) == 2:
        return is_own
    return is_own | (classes == blend.labels.unsqueeze(1))


def _log_probs_of_wrong(logits: Tensor, is_true: Tensor) -> Tensor:
    """Log-probabilities renormalised over the wrong classes; minus infinity for the true ones."""
    return functional.log_softmax(logits.float().masked_fill(is_true, -torch.inf), dim=1)
