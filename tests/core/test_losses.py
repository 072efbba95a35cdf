"""Losses and the mixture: hand-worked values, the naive loops, gradients, and what must hold for any logits."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from mge.core.losses import (
    Blend,
    ExpertLoss,
    classification_loss,
    diversity_authors,
    diversity_paper,
    expert_loss,
    mix_experts,
)
from mge.core.outputs import ExpertOutput
from tests import reference

Term = Callable[[Tensor, Tensor, Tensor], Tensor]
Naive = Callable[[reference.Array, reference.Array, list[int]], float]
TERMS = [
    pytest.param(diversity_paper, reference.diversity_paper, id="paper"),
    pytest.param(diversity_authors, reference.diversity_authors, id="authors"),
]


def random_answers(*, photos: int = 4, classes: int = 5, spread: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """An expert's logits, its predecessor's, and true classes."""
    logits, previous = spread * torch.randn(2, photos, classes)
    return logits, previous, torch.randint(classes, (photos,))


def slope(function: Term, logits: Tensor, previous: Tensor, labels: Tensor) -> Tensor:
    """The gradient of a diversity term in the expert's logits."""
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf, previous, labels), leaf)
    return gradient


def divergence(logits: Tensor, previous: Tensor, label: int) -> float:
    return reference.divergence_of_wrong(logits[0].tolist(), previous[0].tolist(), label)


# ------------------------------------------------------------------------------------------------------- classification
def test_classification_loss_of_two_even_classes_is_log_2() -> None:
    assert float(classification_loss(torch.zeros(3, 2), torch.tensor([0, 1, 0]))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
def test_classification_loss_equals_the_naive_one(label_smoothing: float) -> None:
    logits, _, labels = random_answers()
    loss = classification_loss(logits, labels, label_smoothing=label_smoothing)
    expected = reference.cross_entropy(logits.double().numpy(), labels.tolist(), label_smoothing=label_smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_classification_loss_of_bfloat16_logits_is_float32() -> None:
    logits, _, labels = random_answers()
    loss = classification_loss(logits.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, classification_loss(logits.bfloat16().float(), labels))


# --------- diversity
@pytest.mark.parametrize(("term", "naive"), TERMS)
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_diversity_term_equals_the_naive_one(term: Term, naive: Naive, classes: int) -> None:
    logits, previous, labels = random_answers(classes=classes)
    expected = naive(logits.double().numpy(), previous.double().numpy(), labels.tolist())
    assert float(term(logits, previous, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("term", "naive"), TERMS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_diversity_term_has_the_slope_of_the_naive_one(term: Term, naive: Naive, classes: int) -> None:
    logits, previous, labels = random_answers(classes=classes)
    expected = reference.slopes(
        lambda point: naive(point, previous.double().numpy(), labels.tolist()), logits.double().numpy()
    )
    np.testing.assert_allclose(slope(term, logits, previous, labels).numpy(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_gives_the_former_expert_no_gradient(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, labels = random_answers()
    logits.requires_grad_()
    previous.requires_grad_()
    term(logits, previous, labels).backward()
    assert previous.grad is None
    assert logits.grad is not None


@pytest.mark.parametrize(("term", "naive"), TERMS)
@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("height", [1e4, -1e4])
def test_a_diversity_term_survives_extreme_logits(term: Term, naive: Naive, classes: int, height: float) -> None:
    del naive
    for label in range(classes):
        for this_peak in range(classes):
            for previous_peak in range(classes):
                logits, previous = torch.zeros(1, classes), torch.zeros(1, classes)
                logits[0, this_peak], previous[0, previous_peak] = height, -height
                for given, before in ((logits, previous), (previous, logits), (logits, logits), (previous, previous)):
                    labels = torch.tensor([label])
                    assert 0 <= float(term(given, before, labels)) < 1.5
                    assert bool(slope(term, given, before, labels).isfinite().all())


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_is_the_mean_over_the_photos(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, labels = random_answers(photos=6)
    order = torch.randperm(6)
    whole = float(term(logits, previous, labels))
    assert float(term(logits[order], previous[order], labels[order])) == pytest.approx(whole, rel=1e-6)
    alone = [float(term(logits[[k]], previous[[k]], labels[[k]])) for k in range(6)]
    assert sum(alone) / 6 == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_is_float32_and_the_same_under_autocast(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, labels = random_answers()
    expected = term(logits.bfloat16().float(), previous.bfloat16().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(logits.bfloat16(), previous.bfloat16(), labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


def test_the_papers_term_by_hand() -> None:
    # Wrong classes 1 and 2: the former expert has them at 1/2 each, this one at 3/4 and 1/4.
    logits, previous = torch.tensor([[5.0, math.log(3), 0.0]]), torch.tensor([[-7.0, 1.0, 1.0]])
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(diversity_paper(logits, previous, torch.tensor([0]))) == pytest.approx(math.exp(-kl), rel=1e-6)


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0, 1000.0])
def test_the_papers_term_lies_between_0_and_1(spread: float) -> None:
    for classes in (2, 3, 50):
        for seed in range(20):
            torch.manual_seed(seed)
            value = float(diversity_paper(*random_answers(photos=1, classes=classes, spread=spread)))
            assert 0 <= value <= 1 + 1e-6


@pytest.mark.parametrize("true_logit", [-1e4, -3.0, 0.0, 60.0, 1e4])
def test_experts_alike_about_the_wrong_classes_score_1_whatever_they_say_of_the_true_one(true_logit: float) -> None:
    logits, _, labels = random_answers()
    previous = logits + 3.5  # a constant does not change a distribution
    previous[torch.arange(4), labels] = true_logit
    assert float(diversity_paper(logits, previous, labels)) == pytest.approx(1.0, abs=1e-6)
    assert float(diversity_paper(previous, logits, labels)) == pytest.approx(1.0, abs=1e-6)


def test_the_papers_term_leaves_the_true_class_alone() -> None:
    logits, previous, labels = random_answers()
    gradient = slope(diversity_paper, logits, previous, labels)
    assert gradient[torch.arange(4), labels].tolist() == [0.0] * 4
    assert float(gradient.abs().sum()) > 1e-3


def test_with_two_classes_the_papers_term_is_1_and_has_no_gradient() -> None:
    logits, previous, labels = random_answers(classes=2)
    assert float(diversity_paper(logits, previous, labels)) == 1.0
    assert slope(diversity_paper, logits, previous, labels).abs().sum() == 0


def test_a_step_down_the_papers_term_makes_experts_differ_more() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        logits, previous, labels = random_answers(photos=1)
        label = int(labels)
        stepped = logits - 0.1 * slope(diversity_paper, logits, previous, labels)
        assert divergence(stepped, previous, label) > divergence(logits, previous, label)


def test_the_push_of_the_papers_term_fades_as_experts_differ() -> None:
    previous, labels, direction = torch.zeros(1, 4), torch.tensor([0]), torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    divergences, pushes = [], []
    for distance in (2.0, 3.0, 4.0, 6.0, 10.0, 30.0):
        divergences.append(divergence(distance * direction, previous, 0))
        pushes.append(float(slope(diversity_paper, distance * direction, previous, labels).norm()))
    assert divergences == sorted(divergences)
    assert pushes == sorted(pushes, reverse=True)
    assert pushes[-1] < 1e-4 < 1e-1 < pushes[0]


def test_the_push_of_the_papers_term_is_bounded() -> None:
    for seed in range(100):
        torch.manual_seed(seed)
        answers = random_answers(photos=1, classes=8, spread=float(10 ** (3 * torch.rand(()) - 1)))
        assert float(slope(diversity_paper, *answers).norm()) <= 1.0  # exp(-KL) |q - p|, and |q - p| <= sqrt(2)


def test_the_authors_term_by_hand() -> None:
    # Probabilities 1/4, 1/4, 1/2 against 1/4, 1/2, 1/4; the first class is the true one and counts as exp(0).
    logits, previous = torch.tensor([[0.0, math.log(2), 0.0]]), torch.tensor([[0.0, 0.0, math.log(2)]])
    entries = [0.0, 0.25 * math.log(1 / 2), 0.5 * math.log(2)]
    expected = sum(math.exp(-entry) for entry in entries) / 3
    assert float(diversity_authors(logits, previous, torch.tensor([0]))) == pytest.approx(expected, rel=1e-6)


def test_the_authors_term_hardly_moves_with_200_classes_where_the_papers_does() -> None:
    logits, previous, labels = random_answers(classes=200, spread=0.7)
    assert float(diversity_authors(logits, previous, labels)) == pytest.approx(1.0, abs=0.01)
    assert float(diversity_paper(logits, previous, labels)) < 0.8
    norms = [float(slope(term, logits, previous, labels).norm()) for term in (diversity_authors, diversity_paper)]
    assert norms[0] < 0.02 * norms[1]


# -------------------------------------------------------------------------------------------------------- expert's loss
def answer(large: Tensor, part: Tensor, joint: Tensor) -> ExpertOutput:
    return ExpertOutput(large, part, joint, torch.zeros(len(large), 1), torch.zeros(len(large), 1, 1, 1), joint)


def test_the_total_weighs_the_diversity_term_alone() -> None:
    terms = ExpertLoss(*(torch.tensor(value) for value in (1.0, 2.0, 4.0, 8.0)))
    assert float(terms.total(diversity_weight=0.5)) == 11.0
    assert float(terms.total(diversity_weight=0.0)) == 7.0


def test_each_head_has_its_own_term() -> None:
    large, part, labels = random_answers()
    joint, previous, _ = random_answers()
    terms = expert_loss(answer(large, part, joint), previous, labels, label_smoothing=0.1)
    for name, logits in (("large", large), ("part", part), ("joint", joint)):
        assert torch.equal(getattr(terms, name), classification_loss(logits, labels, label_smoothing=0.1))
    assert torch.equal(terms.diversity, diversity_paper(joint, previous, labels))


def test_the_diversity_term_is_the_one_asked_for() -> None:
    joint, previous, labels = random_answers()
    output = answer(joint, joint, joint)
    authors = expert_loss(output, previous, labels, diversity="authors").diversity
    assert torch.equal(authors, diversity_authors(joint, previous, labels))
    assert float(expert_loss(output, previous, labels, diversity="none").diversity) == 0.0
    assert float(expert_loss(output, None, labels).diversity) == 0.0


def test_an_expert_without_parts_has_the_large_term_alone() -> None:
    logits, previous, labels = random_answers()
    terms = expert_loss(answer(logits, logits, logits), previous, labels, has_parts=False)
    assert torch.equal(terms.large, classification_loss(logits, labels))
    assert [float(terms.part), float(terms.joint), float(terms.diversity)] == [0.0, 0.0, 0.0]


# --------------------------------------------------------- mixture
@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_a_mixture_equals_the_naive_one(mix: Literal["logits", "probs"]) -> None:
    joint_logits, gate_probs = 3 * torch.randn(4, 3, 5), torch.randn(4, 3).softmax(1)
    expected = reference.mix_experts(joint_logits.double().numpy(), gate_probs.double().numpy(), mix=mix)
    np.testing.assert_allclose(mix_experts(joint_logits, gate_probs, mix=mix), expected, rtol=1e-5, atol=1e-5)


def test_a_mixture_by_hand() -> None:
    joint_logits, gate_probs = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]]), torch.tensor([[0.5, 0.5]])
    assert mix_experts(joint_logits, gate_probs, mix="logits")[0].tolist() == pytest.approx([0, math.log(3) / 2])
    assert mix_experts(joint_logits, gate_probs, mix="probs")[0].exp().tolist() == pytest.approx([3 / 8, 5 / 8])


def test_mixed_probabilities_sum_to_1() -> None:
    log_probs = mix_experts(10 * torch.randn(8, 4, 6), torch.randn(8, 4).softmax(1), mix="probs")
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(8))


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_a_gate_that_trusts_one_expert_gives_its_answer(mix: Literal["logits", "probs"]) -> None:
    joint_logits, gate_probs = torch.randn(3, 3, 5), torch.eye(3)
    mixed = mix_experts(joint_logits, gate_probs, mix=mix)
    torch.testing.assert_close(mixed.softmax(1), joint_logits.diagonal(dim1=0, dim2=1).T.softmax(1))


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_renumbering_experts_with_their_gate_changes_nothing(mix: Literal["logits", "probs"]) -> None:
    joint_logits, gate_probs, order = torch.randn(3, 4, 5), torch.randn(3, 4).softmax(1), torch.randperm(4)
    mixed = mix_experts(joint_logits, gate_probs, mix=mix)
    torch.testing.assert_close(mix_experts(joint_logits[:, order], gate_probs[:, order], mix=mix), mixed)


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_a_mixture_survives_extreme_logits_and_a_gate_of_0(mix: Literal["logits", "probs"]) -> None:
    joint_logits = torch.tensor([[[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]]], requires_grad=True)
    gate_probs = torch.tensor([[1.0, 0.0]], requires_grad=True)
    mixed = mix_experts(joint_logits, gate_probs, mix=mix)
    assert int(mixed.argmax()) == 0
    classification_loss(mixed, torch.tensor([1])).backward()
    assert joint_logits.grad is not None
    assert gate_probs.grad is not None
    assert bool(joint_logits.grad.isfinite().all())
    assert bool(gate_probs.grad.isfinite().all())


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_mixtures_loss_tells_the_gate_to_trust_the_expert_that_is_right(mix: Literal["logits", "probs"]) -> None:
    joint_logits, labels = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]]), torch.tensor([1])
    gate_logits = torch.zeros(1, 2, requires_grad=True)
    classification_loss(mix_experts(joint_logits, gate_logits.softmax(1), mix=mix), labels).backward()
    assert gate_logits.grad is not None
    assert float(gate_logits.grad[0, 0]) > 0.1
    assert float(gate_logits.grad[0, 1]) < -0.1


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_a_mixture_is_float32_under_autocast(mix: Literal["logits", "probs"]) -> None:
    joint_logits, gate_probs = torch.randn(2, 3, 5).bfloat16(), torch.randn(2, 3).softmax(1)
    expected = mix_experts(joint_logits.float(), gate_probs, mix=mix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mix_experts(joint_logits, gate_probs, mix=mix)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, expected)


# ---------------------------------------------------------------------------------------- blended photos, class weights
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_the_loss_of_a_blend_is_that_of_soft_labels(label_smoothing: float, share: float) -> None:
    logits, _, labels = random_answers()
    others = labels.roll(1)
    soft = (1 - share) * torch.eye(5)[labels] + share * torch.eye(5)[others]
    soft = (1 - label_smoothing) * soft + label_smoothing / 5
    expected = -(soft.double() * logits.double().log_softmax(1)).sum(1).mean()
    loss = classification_loss(logits, labels, label_smoothing=label_smoothing, blend=Blend(others, share))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_a_photo_counts_by_the_weight_of_its_class_whatever_else_is_in_the_batch(label_smoothing: float) -> None:
    logits, _, labels = random_answers(photos=6)
    weights = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0])
    naive = 0.0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        one = reference.cross_entropy(row[None], [label], label_smoothing=label_smoothing)
        naive += weights[label].item() * one / 6
    loss = classification_loss(logits, labels, label_smoothing=label_smoothing, class_weights=weights)
    assert float(loss) == pytest.approx(naive, rel=1e-5)
    even = classification_loss(logits, labels, label_smoothing=label_smoothing, class_weights=torch.ones(5))
    assert float(even) == pytest.approx(float(classification_loss(logits, labels, label_smoothing=label_smoothing)))


def test_both_classes_of_a_blend_count_by_their_weights() -> None:
    logits, _, labels = random_answers()
    weights = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0])
    blend = Blend(labels.roll(1), 0.4)
    # With soft labels PyTorch weighs each class's part, and takes the mean over the photos.
    soft = 0.6 * torch.eye(5)[labels] + 0.4 * torch.eye(5)[blend.labels]
    expected = torch.nn.functional.cross_entropy(logits, soft, weight=weights)
    assert float(classification_loss(logits, labels, blend=blend, class_weights=weights)) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_weights_reach_the_classification_terms_only_and_a_blend_reaches_all() -> None:
    logits, previous, labels = random_answers()
    weights, blend = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0]), Blend(labels.roll(1), 0.4)
    plain = expert_loss(answer(logits, logits, logits), previous, labels)
    terms = expert_loss(answer(logits, logits, logits), previous, labels, blend=blend, class_weights=weights)
    expected = classification_loss(logits, labels, blend=blend, class_weights=weights)
    assert terms.large == terms.part == terms.joint == expected
    assert terms.large != plain.large
    assert expert_loss(answer(logits, logits, logits), previous, labels, class_weights=weights).diversity == (
        plain.diversity
    )
    assert terms.diversity == diversity_paper(logits, previous, labels, blend=blend) != plain.diversity


def test_both_classes_of_a_blended_picture_are_taken_out_by_the_papers_term() -> None:
    logits, previous, labels = random_answers(classes=6)
    blend = Blend((labels + 2) % 6, 0.3)
    kls = []
    for row, before, own, other in zip(logits, previous, labels.tolist(), blend.labels.tolist(), strict=True):
        wrong = [c for c in range(6) if c not in (own, other)]
        p, q = before[wrong].double().softmax(0), row[wrong].double().softmax(0)
        kls.append(float((p * (p / q).log()).sum()))
    expected = sum(math.exp(-kl) for kl in kls) / len(kls)
    assert float(diversity_paper(logits, previous, labels, blend=blend)) == pytest.approx(expected, rel=1e-5)
    same = Blend(labels, 0.3)  # the second photo may be of the same class
    assert torch.equal(diversity_paper(logits, previous, labels, blend=same), diversity_paper(logits, previous, labels))


def test_both_classes_of_a_blended_picture_are_taken_out_by_the_authors_term() -> None:
    logits, previous, labels = random_answers(classes=6)
    blend = Blend((labels + 2) % 6, 0.3)
    terms = []
    for row, before, own, other in zip(logits, previous, labels.tolist(), blend.labels.tolist(), strict=True):
        q, p = row.double().softmax(0), before.double().softmax(0)
        terms += [1.0 if c in (own, other) else math.exp(-float(p[c] * (p[c] / q[c]).log())) for c in range(6)]
    found = float(diversity_authors(logits, previous, labels, blend=blend))
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("term", [diversity_paper, diversity_authors])
def test_a_blend_of_two_classes_leaves_the_other_one_wrong(term: Callable[..., Tensor]) -> None:
    logits, previous, labels = random_answers(classes=2)
    assert torch.equal(term(logits, previous, labels, blend=Blend(1 - labels, 0.3)), term(logits, previous, labels))


@pytest.mark.parametrize("term", [diversity_paper, diversity_authors])
def test_a_diversity_term_of_a_blend_of_three_classes_has_a_finite_slope(term: Callable[..., Tensor]) -> None:
    logits, previous, labels = random_answers(classes=3)
    logits.requires_grad_()
    term(logits, previous, labels, blend=Blend((labels + 1) % 3, 0.3)).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
