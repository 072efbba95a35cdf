"""How sure is sure enough: the thresholds of a cascade, chosen by what the whole mixture said about some photos.

Not of the paper.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

from mge.cascade.margin import NO_EXIT, exit_indices

MAX_SEARCHES = 1000  # choices of all thresholds but the last that are tried
SUREST = 1e-6  # leads are kept so far from 1, where the logit is infinite
BOUNDS = ((-20.0, 20.0), (-7.0, 7.0))  # of the highest risk's logit, and of the logarithm of the deviation


def flip_risks(prefix_labels: Int[Tensor, "B E"], beliefs: Float[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """How likely each photo is lost where it leaves: that the whole mixture is right there, and the cascade is not.

    This is what the mixture itself believes, and no label is asked: where the answer so far is that of the whole
    mixture nothing can be lost, and elsewhere what the mixture's answer is worth. Among a few hundred photos hardly one
    of the surest is lost, and which of them is luck; chances tell more than such counts, and vary less.

    Args:
        prefix_labels: What the mixture of the first expert, of the first two, and so on answers.
        beliefs: How likely the whole mixture is right about each photo: its calibrated confidence. Where that is no
            number, its answer is worth nothing.
    """
    return beliefs.nan_to_num().unsqueeze(1) * (prefix_labels[:, :-1] != prefix_labels[:, -1:])


def exit_risks(margins: Float[Tensor, "B K"], chances: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """How likely photos like each one are lost where they leave, by how far the answer leads there.

    What later experts add to the difference of two logits is taken for normally distributed; they turn the answer over
    where that is against it and larger than it. So the risk falls with the lead as the tail of a normal distribution
    does, from its highest value at no lead. For each of the K = E - 1 experts before the last two numbers are fitted by
    maximum likelihood: this highest risk, and the standard deviation. One made-up photo is added, as sure as the median
    one and half lost: a few photos of which none is at risk do not prove that there is no risk.

    Args:
        margins: Of the mixture so far, after each of the K experts.
        chances: How likely each photo is lost there; see `flip_risks`.
    """
    columns = zip(margins.T, chances.T, strict=True)
    return torch.stack([_fit_risk(*column) for column in columns], dim=1)


def _fit_risk(margins: Float[Tensor, " B"], chances: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    margin_logits = _never_sure(margins.double().cpu()).clamp(0.5, 1 - SUREST).logit()
    seen = torch.cat((margin_logits, margin_logits.quantile(0.5, keepdim=True)))
    lost = functional.pad(chances.double().cpu(), (0, 1), value=0.5)

    def unlikelihood(numbers: Iterable[float]) -> float:
        risks = _log_risks(seen, numbers)
        return float(-(lost * risks + (1 - lost) * torch.log1p(-risks.exp())).sum())

    # The made-up photo keeps the mean between 0 and 1, and its logit finite.
    start = (float(lost.mean().logit()), float(margin_logits.mean().log1p()))
    found = minimize(unlikelihood, start, method="Nelder-Mead", bounds=BOUNDS)
    return _log_risks(margin_logits, found.x).exp().to(margins)


def _log_risks(margin_logits: Float[Tensor, " B"], numbers: Iterable[float]) -> Float[Tensor, " B"]:
    """Logarithms of risks, out of the logit of the highest one and the logarithm of the standard deviation."""
    highest_logit, log_deviation = margin_logits.new_tensor([*numbers])
    highest, deviation = functional.logsigmoid(highest_logit), log_deviation.exp()
    tail: Tensor = torch.special.log_ndtr(-margin_logits / deviation)
    return highest + math.log(2) + tail


def choose_thresholds(
    margins: Float[Tensor, "B K"], risks: Float[Tensor, "B K"], *, max_lost: float, costs: Sequence[int]
) -> tuple[float, ...]:
    """The thresholds that make the cascade cheapest while it is expected to lose at most `max_lost` of so many photos.

    It never costs more than the whole mixture, since to stop nowhere is among the choices.

    All thresholds between neighbouring leads are tried for the last expert that can be stopped at, and for those
    before it all combinations, or, where these would be more than `MAX_SEARCHES`, combinations of some that are evenly
    spread. Among equally cheap ones those win that lose fewer photos, then higher thresholds of earlier experts.

    Args:
        margins: Of the mixture so far, after each of the K = E - 1 experts before the last.
        risks: How likely a photo is lost if it leaves there, from 0 to 1; see `exit_risks`.
        max_lost: How many photos may be lost, on average.
        costs: What a photo costs that leaves after each of the E experts.
    """
    margins = _never_sure(margins)
    num_previous = margins.shape[1] - 1
    at_most = int(MAX_SEARCHES ** (1 / num_previous) + 1e-9) if num_previous else 1
    columns = [_thin_out(_cuts(column), at_most=at_most) for column in margins[:, :-1].T]
    search = _LastThreshold(margins[:, -1], risks[:, -1], max_lost=max_lost, costs=costs)
    prices = torch.tensor(costs, device=margins.device)
    best, best_price = (NO_EXIT,) * (num_previous + 1), (len(margins) * costs[-1], 0.0)
    for previous in itertools.product(*(column.tolist() for column in columns)):
        stopped = exit_indices(margins[:, :-1], previous)
        goes_on = stopped == num_previous
        lost = float((risks.gather(1, stopped.unsqueeze(1)).squeeze(1) * ~goes_on).sum())
        spent = int((prices[stopped] * ~goes_on).sum())
        found = search.run(goes_on, lost=lost, spent=spent)
        if found is not None and found[1] < best_price:
            best, best_price = (*previous, found[0]), found[1]
    return best


def _never_sure(margins: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Leads in which those that are no numbers are 0, which is below every threshold that is chosen."""
    return margins.masked_fill(margins.isnan(), 0.0)


class _LastThreshold:
    """The search for the last threshold, once the photos that come so far are known."""

    def __init__(
        self, margins: Float[Tensor, " B"], risks: Float[Tensor, " B"], *, max_lost: float, costs: Sequence[int]
    ) -> None:
        self.max_lost, self.costs = max_lost, costs
        self.order = margins.argsort(descending=True)
        self.risks = risks[self.order]
        self.cuts = _cuts(margins)
        # How many photos, surest first, each threshold lets go.
        self.counts = len(margins) - torch.searchsorted(margins.sort().values, self.cuts)

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


def _cuts(margins: Float[Tensor, " B"]) -> Float[Tensor, " M"]:
    """Thresholds that part the photos differently, from `NO_EXIT` downwards.

    Each lies halfway between two neighbours, so that a photo whose lead is rounded otherwise next time still
    falls on the same side.
    """
    falling = margins.sort(descending=True).values
    below = functional.pad(falling[1:], (0, 1))
    middle = (falling + below) / 2
    return torch.cat([falling.new_tensor([NO_EXIT]), middle[middle > below]])


def _thin_out(cuts: Float[Tensor, " M"], *, at_most: int) -> Float[Tensor, " m"]:
    """Some of the thresholds, evenly spread, the first and the last among them."""
    if len(cuts) <= at_most:
        return cuts
    return cuts[torch.linspace(0, len(cuts) - 1, at_most).round().long()]
