"""Thresholds for early exit, fitted to the predictions of the whole mixture on some photos.

Not part of the paper.
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

MAX_SEARCHES = 1000  # combinations of all thresholds but the last that are tried
SUREST = 1e-6  # margins are kept this far from 1, where the logit is infinite
BOUNDS = ((-20.0, 20.0), (-7.0, 7.0))  # of the highest risk's logit, and of the logarithm of the deviation


def flip_risks(prefix_labels: Int[Tensor, "B E"], confidences: Float[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """Return the probability that a photo's prediction is right in the whole mixture and wrong at each exit.

        chance[b, t] = confidence[b] * 1[label_so_far[b, t] != label_so_far[b, E - 1]]

    It is estimated by the mixture's own confidence, without labels: an exit that predicts the same class as the whole
    mixture loses nothing, and any other loses a correct prediction with the mixture's confidence. Among a few hundred
    photos hardly any confident one is lost, so that counts would be noisy; these probabilities have less variance.

    Args:
        prefix_labels: Classes predicted by the mixture of the first expert, of the first two, and so on.
        confidences: Calibrated confidence of the whole mixture for each photo. NaN is treated as 0.
    """
    return confidences.nan_to_num().unsqueeze(1) * (prefix_labels[:, :-1] != prefix_labels[:, -1:])


def exit_risks(margins: Float[Tensor, "B K"], chances: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Fit the risk of a lost prediction at each exit as a falling function of the top-2 margin.

        risk(m) = r * 2 * Phi(-logit(m) / s)    with r, s = argmax of the likelihood of `chances`

    The change of the logit difference by later experts is modelled as a zero-mean normal distribution; a prediction
    flips where the change exceeds the difference. So the risk falls with the margin as the tail of a normal
    distribution. For each of the K = E - 1 exits two parameters are fitted by maximum likelihood: the highest risk r,
    and the standard deviation s. One pseudo-photo is added, with the median margin and a chance of one half: a few
    photos without any risk do not prove that there is none.

    Args:
        margins: Top-2 margins m of the mixture so far, after each of the K experts.
        chances: Probability that each photo is lost there; see `flip_risks`.
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

    # The pseudo-photo keeps the mean between 0 and 1, and its logit finite.
    start = (float(lost.mean().logit()), float(margin_logits.mean().log1p()))
    found = minimize(unlikelihood, start, method="Nelder-Mead", bounds=BOUNDS)
    return _log_risks(margin_logits, found.x).exp().to(margins)


def _log_risks(margin_logits: Float[Tensor, " B"], numbers: Iterable[float]) -> Float[Tensor, " B"]:
    """Return log risks, given the logit of the highest risk and the logarithm of the standard deviation."""
    highest_logit, log_deviation = margin_logits.new_tensor([*numbers])
    highest, deviation = functional.logsigmoid(highest_logit), log_deviation.exp()
    tail: Tensor = torch.special.log_ndtr(-margin_logits / deviation)
    return highest + math.log(2) + tail


def choose_thresholds(
    margins: Float[Tensor, "B K"], risks: Float[Tensor, "B K"], *, max_lost: float, costs: Sequence[int]
) -> tuple[float, ...]:
    """Choose the thresholds of the cheapest cascade that is expected to lose at most `max_lost` photos.

        min_t sum_b cost[exit_t(b)]    subject to sum_b risk[b, exit_t(b)] <= max_lost,  risk 0 at the last expert

    The result never costs more than the whole mixture, since exiting nowhere is among the candidates.

    For the last exit all thresholds between neighbouring margins are tried, and for the exits before it all
    combinations, or, if these are more than `MAX_SEARCHES`, combinations of an evenly spread selection. Ties go to
    fewer lost photos, then to higher thresholds of earlier experts.

    Args:
        margins: Top-2 margins of the mixture so far, after each of the K = E - 1 experts before the last.
        risks: Probability that a photo is lost if it exits there, from 0 to 1; see `exit_risks`.
        max_lost: Highest expected number of lost photos.
        costs: Cost of a photo that exits after each of the E experts.
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
    """Replace margins that are NaN by 0, which is below every threshold that is chosen."""
    return margins.masked_fill(margins.isnan(), 0.0)


class _LastThreshold:
    """Search for the last threshold, given the photos that reach it."""

    def __init__(
        self, margins: Float[Tensor, " B"], risks: Float[Tensor, " B"], *, max_lost: float, costs: Sequence[int]
    ) -> None:
        self.max_lost, self.costs = max_lost, costs
        self.order = margins.argsort(descending=True)
        self.risks = risks[self.order]
        self.cuts = _cuts(margins)
        # Number of photos, most confident first, that exit at each threshold.
        self.counts = len(margins) - torch.searchsorted(margins.sort().values, self.cuts)

    def run(self, goes_on: Bool[Tensor, " B"], *, lost: float, spent: int) -> tuple[float, tuple[int, float]] | None:
        """Return the best threshold with its price (cost, lost photos); None if too many photos are lost already."""
        if lost > self.max_lost:
            return None
        here = goes_on[self.order]
        leaving = _sums_of_first(here)[self.counts]
        losses = lost + _sums_of_first(here * self.risks)[self.counts]
        cost = spent + self.costs[-2] * leaving + self.costs[-1] * (here.sum() - leaving)
        # Lower thresholds let more photos exit and lose more of them: the allowed ones come first.
        allowed = int((losses <= self.max_lost).sum())
        at = int(cost[:allowed].argmin())
        return float(self.cuts[at]), (int(cost[at]), float(losses[at]))


def _sums_of_first(entries: Shaped[Tensor, " B"]) -> Shaped[Tensor, " B_and_1"]:
    """Return the sums of the first 0, 1, 2, … entries."""
    return functional.pad(entries.cumsum(0), (1, 0))


def _cuts(margins: Float[Tensor, " B"]) -> Float[Tensor, " M"]:
    """List the thresholds that separate the photos differently, from `NO_EXIT` downwards.

    Each lies halfway between two neighbours, so that a photo whose margin is rounded differently next time still falls
    on the same side.
    """
    falling = margins.sort(descending=True).values
    below = functional.pad(falling[1:], (0, 1))
    middle = (falling + below) / 2
    return torch.cat([falling.new_tensor([NO_EXIT]), middle[middle > below]])


def _thin_out(cuts: Float[Tensor, " M"], *, at_most: int) -> Float[Tensor, " m"]:
    """Select thresholds evenly, including the first and the last."""
    if len(cuts) <= at_most:
        return cuts
    return cuts[torch.linspace(0, len(cuts) - 1, at_most).round().long()]
