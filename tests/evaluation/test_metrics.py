"""Each metric against scikit-learn, numpy or a count by hand."""

import math
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from mge.evaluation.metrics import (
    auroc,
    balanced_accuracy,
    balanced_interval,
    confusion_matrix,
    error_correlation,
    find_doubtful_labels,
    group_accuracy,
    macro_f1,
    most_confused,
    pairwise_disagreement,
    score_classes,
    top_k_accuracy,
    wilson_interval,
)


def made_up(num_photos: int = 200, num_classes: int = 7, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels of all classes but the last, and answers of which about half are right."""
    torch.manual_seed(seed)
    labels = torch.randint(0, num_classes - 1, (num_photos,))
    others = torch.randint(0, num_classes, (num_photos,))
    return labels, torch.where(torch.rand(num_photos) < 0.5, labels, others)


# -------- shares
@pytest.mark.parametrize(("hits", "photos"), [(0, 5), (5, 5), (1, 7), (60, 100), (1488, 2485)])
def test_the_ends_of_a_shares_interval_are_as_many_deviations_away_as_the_confidence_asks_for(
    hits: int, photos: int
) -> None:
    for confidence, z in ((0.8, 1.2815515655446004), (0.95, 1.959963984540054)):
        share, ends = hits / photos, wilson_interval(hits, photos, confidence=confidence)
        # Wilson's ends are the true shares at which what was counted lies z standard deviations away.
        for end in ends:
            assert (share - end) ** 2 == pytest.approx(z * z * end * (1 - end) / photos, abs=1e-12)
        assert 0 <= ends[0] <= share <= ends[1] <= 1
        assert ends[0] < ends[1]


def test_of_no_photos_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0, 1)


def test_the_interval_of_balanced_accuracy_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    counts, recalls = np.array([40, 15, 8, 60, 25]), np.array([0.9, 0.6, 0.4, 0.75, 0.5])
    kept = 0
    for _ in range(2000):
        hits = rng.binomial(counts, recalls)
        confusion = torch.diag(torch.tensor(hits))
        confusion[:, 0] += torch.tensor(counts - hits)  # what is wrong is given the first class
        confusion[0] = torch.tensor([hits[0], counts[0] - hits[0], 0, 0, 0])
        low, high = balanced_interval(confusion)
        kept += low <= recalls.mean() <= high
    assert 0.93 <= kept / 2000 <= 0.97


def test_three_hits_of_three_do_not_make_balanced_accuracy_certain() -> None:
    low, high = balanced_interval(torch.eye(4, dtype=torch.long) * 3)
    assert low < 0.9
    assert high == 1


# -------- classes
def test_classes_are_scored_as_scikit_learn_does() -> None:
    labels, predicted = made_up()
    confusion = confusion_matrix(labels, predicted, num_classes=7)
    assert confusion.tolist() == sklearn_metrics.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    found = score_classes(confusion)
    expected = sklearn_metrics.precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=np.nan)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert math.isnan(found.recall[6])
    with warnings.catch_warnings(action="ignore"):  # scikit-learn warns of answers that no photo is labelled
        theirs = sklearn_metrics.balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(labels, predicted) == pytest.approx(theirs)


def test_macro_f1_is_scikit_learns_whichever_classes_have_photos_or_are_predicted() -> None:
    for seed, num_classes in enumerate((2, 7, 40)):
        labels, answers = made_up(30, num_classes, seed=seed)
        expected = sklearn_metrics.f1_score(labels, answers, average="macro", zero_division=0)
        found = macro_f1(confusion_matrix(labels, answers, num_classes=num_classes + 3))
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 5, 6])
def test_top_k_accuracy_is_scikit_learns(k: int) -> None:
    labels, _ = made_up()
    logits = torch.randn(200, 7)
    expected = sklearn_metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(7))
    assert top_k_accuracy(logits, labels, k=k) == pytest.approx(expected)


def test_the_most_confused_pair_counts_both_ways_and_comes_first() -> None:
    confusion = torch.tensor([[5, 2, 0, 0], [1, 5, 2, 0], [0, 0, 5, 0], [4, 0, 0, 5]])
    pairs = most_confused(confusion, at_most=2)
    assert [tuple(pair) for pair in pairs] == [(0, 3, 0, 4), (0, 1, 2, 1)]
    assert pairs[0].num_mistakes == 4
    assert len(most_confused(confusion, at_most=10)) == 3
    assert most_confused(torch.eye(3, dtype=torch.long), at_most=3) == []


def test_confused_pairs_of_thousands_of_classes_take_no_time_for_those_that_are_not() -> None:
    confusion = 5 * torch.eye(2000, dtype=torch.long)
    confusion[1999, 0] = confusion[0, 1] = 3
    started = time.process_time()
    assert [tuple(pair) for pair in most_confused(confusion, at_most=confusion.numel())] == [
        (0, 1, 3, 0), (0, 1999, 0, 3)
    ]  # fmt: skip
    assert time.process_time() - started < 5  # 0.1 s; a loop over all four million takes 20


def test_a_group_is_right_where_any_of_its_classes_is_answered() -> None:
    labels, predicted = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 1, 3, 0])
    assert float(group_accuracy(labels, predicted, torch.tensor([0, 0, 1, 1]))) == 0.75
    assert float(group_accuracy(labels, predicted, torch.arange(4))) == 0.25


# -------- experts
def test_experts_disagree_and_err_together_as_counted_by_numpy() -> None:
    torch.manual_seed(1)
    predicted, labels = torch.randint(0, 3, (60, 3)), torch.randint(0, 3, (60,))
    for i in range(3):
        for j in range(3):
            expected = np.mean(predicted[:, i].numpy() != predicted[:, j].numpy())
            assert float(pairwise_disagreement(predicted)[i, j]) == pytest.approx(expected)
    is_wrong = predicted != labels.unsqueeze(1)
    np.testing.assert_allclose(error_correlation(is_wrong), np.corrcoef(is_wrong.numpy().T), atol=1e-12)
    is_wrong[:, 0] = False
    assert error_correlation(is_wrong)[0].isnan().all()


# -------- unknown things
@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_auroc_is_scikit_learns_also_with_ties(known: list[int], unknown: list[int]) -> None:
    scores = [score / 6 for score in known + unknown]
    expected = sklearn_metrics.roc_auc_score([1] * len(known) + [0] * len(unknown), scores)
    assert auroc(torch.tensor(known) / 6, torch.tensor(unknown) / 6) == pytest.approx(expected)


# -------- labels
def test_a_label_looks_wrong_where_another_class_is_as_likely_as_on_its_own_photos() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.85, 0.15], [0.75, 0.25], [0.4, 0.6]])
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    # On photos of class 0 its probability is 0.8 in the mean: the fourth photo reaches that, the fifth does not.
    assert find_doubtful_labels(probs, labels).tolist() == [False, False, False, True, False, False]


def test_a_class_without_photos_makes_no_label_look_wrong() -> None:
    assert not find_doubtful_labels(torch.tensor([[0.1, 0.9]]), torch.tensor([0])).any()
