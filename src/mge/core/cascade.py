"""The cascade: a photo leaves after the expert whose answer, mixed with those before it, is sure enough.

Not of the paper, where every expert looks at every photo.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from mge.core.losses import mix_experts

NEVER = 2.0  # a threshold that no probability reaches
MAX_SEARCHES = 1000  # choices of all thresholds but the last that are tried
SUREST = 1e-6  # probabilities are kept so far from 0 and 1 before their logit is taken
MAX_STEPS = 100  # of Newton's method


def gate_so_far(gate_probs: Float[Tensor, "B E"], *, num_experts: int) -> Float[Tensor, "B k"]:
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


def mix_so_far(
    joint_logits: Float[Tensor, "B E C"], gate_probs: Float[Tensor, "B E"], *, mix: Literal["logits", "probs"]
) -> Float[Tensor, "B E C"]:
    """The mixture of the first expert, of the first two, and so on; the last is the whole mixture."""
    mixtures = [
        mix_experts(joint_logits[:, :count], gate_so_far(gate_probs, num_experts=count), mix=mix)
        for count in range(1, joint_logits.shape[1] + 1)
    ]
    return torch.stack(mixtures, dim=1)


def confidence(logits: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """How sure an answer is: the probability of the likeliest class."""
    return functional.softmax(logits.float(), dim=-1).amax(-1)


def stopping_experts(confidences: Float[Tensor, "B K"], thresholds: Sequence[float]) -> Int[Tensor, " B"]:
    """Number of the expert after which each photo leaves: the first that is sure enough, otherwise the last.

    Args:
        confidences: Of the mixture so far, after each of the K = E - 1 experts before the last.
        thresholds: One for each of them; a photo leaves where its confidence reaches it.
    """
    is_sure = confidences >= confidences.new_tensor(thresholds)
    return functional.pad(is_sure.int(), (0, 1), value=1).argmax(1)


def chances_of_loss(so_far_labels: Int[Tensor, "B E"], beliefs: Float[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """How likely each photo is lost where it leaves: that the whole mixture is right there, and the cascade is not.

    This is what the mixture itself believes, and no label is asked: where the answer so far is that of the whole
    mixture nothing can be lost, and elsewhere what the mixture's answer is worth. Among a few hundred photos hardly one
    of the surest is lost, and which of them is luck; chances tell more than such counts, and vary less.

    Args:
        so_far_labels: What the mixture of the first expert, of the first two, and so on answers.
        beliefs: How likely the whole mixture is right about each photo: its calibrated confidence. Where that is no
            number, its answer is worth nothing.
    """
    return beliefs.nan_to_num().unsqueeze(1) * (so_far_labels[:, :-1] != so_far_labels[:, -1:])


def risks_of_leaving(confidences: Float[Tensor, "B K"], chances: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """How likely photos like each one are lost where they leave, by how sure the answer is there.

    It is a logistic curve of the confidence's logit, one for each of the K = E - 1 experts before the last. Half of one
    photo more is taken for lost and half of one more for kept, shared out evenly: a few photos of which none is at risk
    do not prove that there is no risk.

    Args:
        confidences: Of the mixture so far, after each of the K experts.
        chances: How likely each photo is lost there; see `chances_of_loss`.
    """
    columns = zip(confidences.T, chances.T, strict=True)
    return torch.stack([_fit_risk(confidence, chance) for confidence, chance in columns], dim=1)


def _fit_risk(confidences: Float[Tensor, " B"], chances: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    scores = _never_sure(confidences.double()).clamp(SUREST, 1 - SUREST).logit()
    design = torch.stack((torch.ones_like(scores), scores - scores.mean()), dim=1)
    labels = (len(chances) * chances.double() + 0.5) / (len(chances) + 1)
    line = torch.stack((labels.mean().logit(), labels.new_zeros(())))
    for _ in range(MAX_STEPS):
        risks = (design @ line).sigmoid()
        curvature = (design.T * (risks * (1 - risks))) @ design + 1e-9 * torch.eye(
            2, dtype=torch.double, device=design.device
        )
        step = torch.linalg.solve(curvature, design.T @ (labels - risks))
        while _loss(design @ (line + step), labels) > _loss(design @ line, labels) and step.abs().max() > SUREST:
            step = step / 2
        line = line + step
        if step.abs().max() <= SUREST:
            break
    return (design @ line).sigmoid()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, labels)


def choose_thresholds(
    confidences: Float[Tensor, "B K"], risks: Float[Tensor, "B K"], *, max_lost: float, costs: Sequence[int]
) -> tuple[float, ...]:
    """The thresholds that make the cascade cheapest while it is expected to lose at most `max_lost` of so many photos.

    It never costs more than the whole mixture, since to stop nowhere is among the choices.

    All thresholds between neighbouring confidences are tried for the last expert that can be stopped at, and for those
    before it all combinations, or, where these would be more than `MAX_SEARCHES`, combinations of some that are evenly
    spread. Among equally cheap ones those win that lose fewer photos, then higher thresholds of earlier experts.

    Args:
        confidences: Of the mixture so far, after each of the K = E - 1 experts before the last.
        risks: How likely a photo is lost if it leaves there, from 0 to 1; see `risks_of_leaving`.
        max_lost: How many photos may be lost, on average.
        costs: What a photo costs that leaves after each of the E experts.
    """
    confidences = _never_sure(confidences)
    num_former = confidences.shape[1] - 1
    at_most = int(MAX_SEARCHES ** (1 / num_former) + 1e-9) if num_former else 1
    columns = [_thin_out(_cuts(column), at_most=at_most) for column in confidences[:, :-1].T]
    search = _LastThreshold(confidences[:, -1], risks[:, -1], max_lost=max_lost, costs=costs)
    prices = torch.tensor(costs, device=confidences.device)
    best, best_price = (NEVER,) * (num_former + 1), (len(confidences) * costs[-1], 0.0)
    for former in itertools.product(*(column.tolist() for column in columns)):
        stopped = stopping_experts(confidences[:, :-1], former)
        goes_on = stopped == num_former
        lost = float((risks.gather(1, stopped.unsqueeze(1)).squeeze(1) * ~goes_on).sum())
        spent = int((prices[stopped] * ~goes_on).sum())
        found = search.run(goes_on, lost=lost, spent=spent)
        if found is not None and found[1] < best_price:
            best, best_price = (*former, found[0]), found[1]
    return best


def _never_sure(confidences: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Confidences in which those that are no numbers are 0, which is below every threshold that is chosen."""
    return confidences.masked_fill(confidences.isnan(), 0.0)


class _LastThreshold:
    """The search for the last threshold, once the photos that come so far are known."""

    def __init__(
        self, confidences: Float[Tensor, " B"], risks: Float[Tensor, " B"], *, max_lost: float, costs: Sequence[int]
    ) -> None:
        self.max_lost, self.costs = max_lost, costs
        self.order = confidences.argsort(descending=True)
        self.risks = risks[self.order]
        self.cuts = _cuts(confidences)
        # How many photos, most confident first, each threshold lets go.
        self.counts = len(confidences) - torch.searchsorted(confidences.sort().values, self.cuts)

    def run(self, goes_on: Bool[Tensor, " B"], *, lost: float, spent: int) -> tuple[float, tuple[int, float]] | None:
        """The best threshold, and its price (cost, lost photos); None where too many photos are lost already."""
        if lost > self.max_lost:
            return None
        here = goes_on[self.order]
        leaving = _sums_of_first(here)[self.counts]
        losses = lost + _sums_of_first(here * self.risks)[self.counts]
        cost = spent + self.costs[-2] * leaving + self.costs[-1] * (here.sum() - leaving)
        # Lower thresholds let more photos go and lose more of them: the allowed ones come first.
        allowed = int((losses <= self.max_lost).sum())
        at = int(cost[:allowed].argmin())
        return float(self.cuts[at]), (int(cost[at]), float(losses[at]))


def _sums_of_first(entries: Shaped[Tensor, " B"]) -> Shaped[Tensor, " B_and_1"]:
    """The sum of the first 0, 1, 2, … entries."""
    return functional.pad(entries.cumsum(0), (1, 0))


def _cuts(confidences: Float[Tensor, " B"]) -> Float[Tensor, " M"]:
    """Thresholds that part the photos differently, from `NEVER` downwards.

    Each lies halfway between two neighbours, so that a photo whose confidence is rounded otherwise next time still
    falls on the same side.
    """
    falling = confidences.sort(descending=True).values
    below = functional.pad(falling[1:], (0, 1))
    middle = (falling + below) / 2
    return torch.cat([falling.new_tensor([NEVER]), middle[middle > below]])


def _thin_out(cuts: Float[Tensor, " M"], *, at_most: int) -> Float[Tensor, " m"]:
    """Some of the thresholds, evenly spread, the first and the last among them."""
    if len(cuts) <= at_most:
        return cuts
    return cuts[torch.linspace(0, len(cuts) - 1, at_most).round().long()]
