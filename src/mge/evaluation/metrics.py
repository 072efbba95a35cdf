"""Classification metrics: accuracy with its interval, per-class scores, diversity of the experts' errors, AUROC."""

from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, mannwhitneyu
from torch import Tensor

CONFIDENCE = 0.95  # the default of every interval


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each of C classes; NaN where the denominator is 0."""

    precision: Tensor  # (C,) fraction of the photos predicted as this class that belong to it
    recall: Tensor  # (C,) fraction of the photos of this class that were predicted as it
    f1: Tensor  # (C,) the harmonic mean of both
    num_photos: Tensor  # (C,) number of photos of this class


class ConfusedPair(NamedTuple):
    """Numbers of photos of two classes that were predicted as the other."""

    first: int
    second: int
    num_first_as_second: int
    num_second_as_first: int

    @property
    def num_mistakes(self) -> int:
        """Number of mistakes in both directions."""
        return self.num_first_as_second + self.num_second_as_first


def wilson_interval(num_hits: int, num_photos: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

        p = k / n,  z = quantile((1 + confidence) / 2)
        (p + z^2 / 2n +- z * sqrt(p * (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Unlike the textbook's normal interval it holds for few photos and for proportions near 0 and 1.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    if num_photos == 0:
        return 0.0, 1.0
    found = binomtest(num_hits, num_photos).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def confusion_matrix(
    labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"], *, num_classes: int
) -> Int[Tensor, "C C"]:
    """Count the photos of each true class (row) by predicted class (column)."""
    return torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def score_classes(confusion: Int[Tensor, "C C"]) -> ClassScores:
    """Compute precision, recall and F1 of each class.

    precision = TP / (TP + FP),  recall = TP / (TP + FN),  F1 = 2 TP / (2 TP + FP + FN)
    """
    right, num_photos, num_given = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    # 0 / 0 is NaN: a class without photos has no recall, one that is never predicted has no precision.
    return ClassScores(right / num_given, right / num_photos, 2 * right / (num_photos + num_given), num_photos)


def balanced_accuracy(labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"]) -> float:
    """Compute the balanced accuracy (macro recall): the mean recall of the classes that have photos.

    1/C * sum_c TP_c / N_c    over the classes with N_c > 0
    """
    counts = torch.bincount(labels)
    hits = torch.bincount(labels[labels == predicted], minlength=len(counts))
    return float((hits.double() / counts).nanmean())


def macro_f1(confusion: Int[Tensor, "C C"]) -> float:
    """Compute the macro-F1: the mean F1 of the classes that have photos or were predicted, as scikit-learn does.

    1/C * sum_c 2 TP_c / (2 TP_c + FP_c + FN_c)    over the classes with TP_c + FP_c + FN_c > 0
    """
    return float(score_classes(confusion).f1.nanmean())


def top_k_accuracy(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], *, k: int) -> float:
    """Compute the fraction of photos whose true class is among the k most probable ones.

    1/N * sum_n 1[labels[n] in the k classes with the largest logits[n]]
    """
    return float((logits.topk(k, dim=1).indices == labels.unsqueeze(1)).any(1).double().mean())


def balanced_interval(confusion: Int[Tensor, "C C"], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the confidence interval of the balanced accuracy.

        mean_c(recall_c) +- z / C * sqrt(sum_c q_c * (1 - q_c) / N_c)    with q_c = (TP_c + 1) / (N_c + 2)

    The recalls of the classes are independent, so the variance of their mean is the sum of their variances over C^2.
    Each class's variance uses (hits + 1) / (photos + 2): three hits out of three do not prove a recall of 1. A
    bootstrap would treat such classes as certain and give too narrow an interval.
    """
    hits, counts = confusion.diagonal().double(), confusion.sum(1).double()
    hits, counts = hits[counts > 0], counts[counts > 0]
    likely = (hits + 1) / (counts + 2)
    deviation = float((likely * (1 - likely) / counts).sum().sqrt()) / len(counts)
    half = deviation * NormalDist().inv_cdf((1 + confidence) / 2)
    middle = float((hits / counts).mean())
    return max(0.0, middle - half), min(1.0, middle + half)


def most_confused(confusion: Int[Tensor, "C C"], *, at_most: int) -> list[ConfusedPair]:
    """Return the pairs of classes with the most confusions in both directions together, in falling order."""
    both = (confusion + confusion.T).triu(1)
    pairs = both.nonzero()  # few of all that thousands of classes have
    order = both[pairs[:, 0], pairs[:, 1]].argsort(descending=True, stable=True)[:at_most]
    return [ConfusedPair(i, j, int(confusion[i, j]), int(confusion[j, i])) for i, j in pairs[order].tolist()]


def pairwise_disagreement(predicted: Int[Tensor, "N E"]) -> Float[Tensor, "E E"]:
    """Compute the fraction of photos for which two experts predict different classes.

    D[s, t] = 1/N * sum_n 1[predicted[n, s] != predicted[n, t]]
    """
    return (predicted.unsqueeze(2) != predicted.unsqueeze(1)).double().mean(0)


def error_correlation(is_wrong: Bool[Tensor, "N E"]) -> Float[Tensor, "E E"]:
    """Compute Pearson's correlation of two experts' errors: 1 for the same photos, 0 for independent errors.

        R[s, t] = cov(wrong_s, wrong_t) / (std(wrong_s) * std(wrong_t))

    NaN where an expert is always right or always wrong.
    """
    centerd = is_wrong.double() - is_wrong.double().mean(0)
    deviation = centerd.square().mean(0).sqrt()
    return (centerd.T @ centerd) / len(centerd) / (deviation.unsqueeze(1) * deviation)


def group_accuracy(
    labels: Int[Tensor, " N"], predicted: Int[Tensor, " N"], groups: Int[Tensor, " C"]
) -> Float[Tensor, ""]:
    """Compute the accuracy at the level of class groups, such as families of species.

        1/N * sum_n 1[groups[labels[n]] == groups[predicted[n]]]

    Args:
        labels: The true classes.
        predicted: The predicted classes.
        groups: The group that each class belongs to.
    """
    return (groups[labels] == groups[predicted]).double().mean()


def auroc(positive: Float[Tensor, " P"], negative: Float[Tensor, " N"]) -> float:
    """Compute the area under the ROC curve; 0.5 is chance, 1 perfect separation.

    AUROC = P(s+ > s-) + P(s+ = s-) / 2    over all pairs of a positive's and a negative's score

    Source: Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other", Annals of Mathematical Statistics 1947: their U by the number of pairs.
    """
    wins = mannwhitneyu(positive.double().numpy(), negative.double().numpy(), method="asymptotic").statistic
    return float(wins) / (len(positive) * len(negative))


def find_doubtful_labels(probs: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Find photos that are probably mislabelled: another class is predicted with at least its usual confidence.

        t_c = mean_{n : label_n = c} p_n[c]
        doubtful_n = (j != label_n) and (p_n[j] >= t_j)    with j = argmax_c p_n[c]

    Comparing with the mean probability on photos of that class keeps hard classes from looking mislabelled as a whole.

    Source: confident learning (Northcutt et al., "Confident Learning", JAIR 2021, section 3.1).
    """
    num_classes = probs.shape[1]
    own = probs.gather(1, labels.unsqueeze(1)).squeeze(1).double()
    sums = torch.zeros(num_classes, dtype=torch.double).index_add(0, labels, own)
    usual = sums / torch.bincount(labels, minlength=num_classes)  # NaN for a class without photos; nothing exceeds it
    return probs.amax(1).double().ge(usual[probs.argmax(1)]) & (probs.argmax(1) != labels)
