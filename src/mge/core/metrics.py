"""How good answers are: shares with their intervals, classes one by one, and how differently experts err."""

from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, mannwhitneyu
from torch import Tensor

CONFIDENCE = 0.95  # of every interval that is not said to be another


class ClassScores(NamedTuple):
    """How well each of C classes is told from the others; NaN where there is nothing to divide by."""

    precision: Tensor  # (C,) of the photos that were given this class, the share that are of it
    recall: Tensor  # (C,) of the photos of this class, the share that were given it
    f1: Tensor  # (C,) the harmonic mean of both
    num_photos: Tensor  # (C,) photos of this class


class ConfusedPair(NamedTuple):
    """Two classes that are taken for each other."""

    first: int
    second: int
    num_first_as_second: int
    num_second_as_first: int

    @property
    def num_mistakes(self) -> int:
        """Both ways together."""
        return self.num_first_as_second + self.num_second_as_first


def wilson_interval(num_hits: int, num_photos: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the true share of hits lies, from what was counted on some photos.

    Unlike the textbook's normal interval it holds for few photos and for shares near 0 and 1.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    if num_photos == 0:
        return 0.0, 1.0
    found = binomtest(num_hits, num_photos).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def confusion_matrix(
    labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"], *, num_classes: int
) -> Int[Tensor, "C C"]:
    """How many photos of each class (row) were given each class (column)."""
    return torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def score_classes(confusion: Int[Tensor, "C C"]) -> ClassScores:
    """Precision, recall and F1 of each class."""
    right, num_photos, num_given = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    # 0 / 0 is NaN: a class without photos has no recall, one that was never given has no precision.
    return ClassScores(right / num_given, right / num_photos, 2 * right / (num_photos + num_given), num_photos)


def balanced_accuracy(labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"]) -> float:
    """The mean recall of the classes that have photos: each class counts alike."""
    counts = torch.bincount(labels)
    hits = torch.bincount(labels[labels == predicted], minlength=len(counts))
    return float((hits.double() / counts).nanmean())


def balanced_interval(confusion: Int[Tensor, "C C"], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the true balanced accuracy lies.

    The recalls of the classes vary independently, so the variance of their mean is the sum of theirs. A class's own is
    taken of (hits + 1) / (photos + 2): three hits of three do not prove that the fourth is sure. A bootstrap would take
    such classes for certain, and its interval for narrower than it is.
    """
    hits, counts = confusion.diagonal().double(), confusion.sum(1).double()
    hits, counts = hits[counts > 0], counts[counts > 0]
    likely = (hits + 1) / (counts + 2)
    deviation = float((likely * (1 - likely) / counts).sum().sqrt()) / len(counts)
    half = deviation * NormalDist().inv_cdf((1 + confidence) / 2)
    middle = float((hits / counts).mean())
    return max(0.0, middle - half), min(1.0, middle + half)


def most_confused(confusion: Int[Tensor, "C C"], *, at_most: int) -> list[ConfusedPair]:
    """The pairs of classes with the most mistakes between them, both ways together, the worst first."""
    both = (confusion + confusion.T).triu(1)
    pairs = both.nonzero()  # few of all that thousands of classes have
    order = both[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)[:at_most]
    return [ConfusedPair(i, j, int(confusion[i, j]), int(confusion[j, i])) for i, j in pairs[order].tolist()]


def pairwise_disagreement(predicted: Int[Tensor, "N E"]) -> Float[Tensor, "E E"]:
    """The share of photos to which two experts give different classes."""
    return (predicted.unsqueeze(2) != predicted.unsqueeze(1)).double().mean(0)


def error_correlation(is_wrong: Bool[Tensor, "N E"]) -> Float[Tensor, "E E"]:
    """How far two experts err on the same photos: Pearson's correlation, 1 for the same ones, 0 for chance.

    NaN where an expert is always right or always wrong.
    """
    centred = is_wrong.double() - is_wrong.double().mean(0)
    deviation = centred.square().mean(0).sqrt()
    return (centred.T @ centred) / len(centred) / (deviation.unsqueeze(1) * deviation)


def group_accuracy(
    labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"], groups: Int[Tensor, " C"]
) -> Float[Tensor, ""]:
    """The share of photos whose class is right up to its group: the right family, whatever the species.

    Args:
        labels: The true classes.
        predicted: The answers.
        groups: The group that each class belongs to.
    """
    return (groups[labels] == groups[predicted]).double().mean()


def auroc(positive: Float[Tensor, " P"], negative: Float[Tensor, " N"]) -> float:
    """How often a positive's score is above a negative's; a tie counts half. 0.5 is chance, 1 a clean cut.

    Source: Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other", Annals of Mathematical Statistics 1947: their U by the number of pairs.
    """
    wins = mannwhitneyu(positive.double().numpy(), negative.double().numpy(), method="asymptotic").statistic
    return float(wins) / (len(positive) * len(negative))


def find_doubtful_labels(probs: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Photos whose label looks wrong: the mixture holds another class for as likely as it does where that is the label.

    Whether the probability of the other class is high is seen against the mean that it has on photos of that class, so
    classes that are hard as a whole do not all look mislabelled.

    Source: confident learning (Northcutt et al., "Confident Learning", JAIR 2021, section 3.1).
    """
    num_classes = probs.shape[1]
    own = probs.gather(1, labels.unsqueeze(1)).squeeze(1).double()
    sums = torch.zeros(num_classes, dtype=torch.double).index_add(0, labels, own)
    usual = sums / torch.bincount(labels, minlength=num_classes)  # NaN, above which nothing is, where it has no photos
    return probs.amax(1).double().ge(usual[probs.argmax(1)]) & (probs.argmax(1) != labels)
