"""Losses and the mixture: hand-worked values, the naive loops, gradients, and what must hold for any logits."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mge.config import Diversity
from mge.core.losses import (
    DIVERSITY,
    ExpertLoss,
    diversity_authors,
    diversity_paper,
    expert_loss,
    mix_experts,
    smooth_targets,
)
from mge.core.outputs import ExpertOutput
from tests import reference
from tests.targets import one_hot

Term = Callable[[Tensor, Tensor, Tensor], Tensor]
Naive = Callable[[reference.Array, reference.Array, list[int]], float]
TERMS = [
    pytest.param(diversity_paper, reference.diversity_paper, id="paper"),
    pytest.param(diversity_authors, reference.diversity_authors, id="authors"),
]


def random_answers(*, photos: int = 4, classes: int = 5, spread: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """An expert's logits, its predecessor's, and the targets of one true class a photo."""
    logits, previous = spread * torch.randn(2, photos, classes)
    return logits, previous, one_hot(torch.randint(classes, (photos,)), classes)


def classes_of(targets: Tensor) -> list[int]:
    return targets.argmax(1).tolist()


def blend(targets: Tensor, *, share: float) -> Tensor:
    """The targets of pictures that have a share of the photo before."""
    return (1 - share) * targets + share * targets.roll(1, 0)


def slope(function: Term, logits: Tensor, previous: Tensor, targets: Tensor) -> Tensor:
    """The gradient of a diversity term in the expert's logits."""
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf, previous, targets), leaf)
    return gradient


def divergence(logits: Tensor, previous: Tensor, label: int) -> float:
    return reference.divergence_of_wrong(logits[0].tolist(), previous[0].tolist(), label)


# ------------------------------------------------------------------------------------------------------- classification
def large_term(logits: Tensor, targets: Tensor) -> Tensor:
    return expert_loss(answer(logits, logits, logits), None, targets).large


def test_the_classification_term_of_two_even_classes_is_log_2() -> None:
    assert float(large_term(torch.zeros(3, 2), one_hot([0, 1, 0], 2))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
def test_a_classification_term_equals_the_naive_one(label_smoothing: float) -> None:
    logits, _, targets = random_answers()
    loss = large_term(logits, smooth_targets(targets, label_smoothing))
    expected = reference.cross_entropy(logits.double().numpy(), classes_of(targets), label_smoothing=label_smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_classification_term_of_bfloat16_logits_is_float32() -> None:
    logits, _, targets = random_answers()
    loss = large_term(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, large_term(logits.bfloat16().float(), targets))


def test_without_smoothing_targets_stay_the_same_bits() -> None:
    _, _, targets = random_answers()
    assert smooth_targets(3 * targets, 0.0).equal(3 * targets)


# --------- diversity
@pytest.mark.parametrize(("term", "naive"), TERMS)
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_a_diversity_term_equals_the_naive_one(term: Term, naive: Naive, classes: int) -> None:
    logits, previous, targets = random_answers(classes=classes)
    expected = naive(logits.double().numpy(), previous.double().numpy(), classes_of(targets))
    assert float(term(logits, previous, targets)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("term", "naive"), TERMS)
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_diversity_term_has_the_slope_of_the_naive_one(term: Term, naive: Naive, classes: int) -> None:
    logits, previous, targets = random_answers(classes=classes)
    expected = reference.slopes(
        lambda point: naive(point, previous.double().numpy(), classes_of(targets)), logits.double().numpy()
    )
    np.testing.assert_allclose(slope(term, logits, previous, targets).numpy(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_gives_the_former_expert_no_gradient(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, targets = random_answers()
    logits.requires_grad_()
    previous.requires_grad_()
    term(logits, previous, targets).backward()
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
                    targets = one_hot([label], classes)
                    assert 0 <= float(term(given, before, targets)) < 1.5
                    assert bool(slope(term, given, before, targets).isfinite().all())


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_is_the_mean_over_the_photos(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, targets = random_answers(photos=6)
    order = torch.randperm(6)
    whole = float(term(logits, previous, targets))
    assert float(term(logits[order], previous[order], targets[order])) == pytest.approx(whole, rel=1e-6)
    alone = [float(term(logits[[k]], previous[[k]], targets[[k]])) for k in range(6)]
    assert sum(alone) / 6 == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("term", "naive"), TERMS)
def test_a_diversity_term_is_float32_and_the_same_under_autocast(term: Term, naive: Naive) -> None:
    del naive
    logits, previous, targets = random_answers()
    expected = term(logits.bfloat16().float(), previous.bfloat16().float(), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = term(logits.bfloat16(), previous.bfloat16(), targets)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


def test_the_papers_term_by_hand() -> None:
    # Wrong classes 1 and 2: the former expert has them at 1/2 each, this one at 3/4 and 1/4.
    logits, previous = torch.tensor([[5.0, math.log(3), 0.0]]), torch.tensor([[-7.0, 1.0, 1.0]])
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(diversity_paper(logits, previous, one_hot([0], 3))) == pytest.approx(math.exp(-kl), rel=1e-6)


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0, 1000.0])
def test_the_papers_term_lies_between_0_and_1(spread: float) -> None:
    for classes in (2, 3, 50):
        for seed in range(20):
            torch.manual_seed(seed)
            value = float(diversity_paper(*random_answers(photos=1, classes=classes, spread=spread)))
            assert 0 <= value <= 1 + 1e-6


@pytest.mark.parametrize("true_logit", [-1e4, -3.0, 0.0, 60.0, 1e4])
def test_experts_alike_about_the_wrong_classes_score_1_whatever_they_say_of_the_true_one(true_logit: float) -> None:
    logits, _, targets = random_answers()
    previous = logits + 3.5  # a constant does not change a distribution
    previous[torch.arange(4), targets.argmax(1)] = true_logit
    assert float(diversity_paper(logits, previous, targets)) == pytest.approx(1.0, abs=1e-6)
    assert float(diversity_paper(previous, logits, targets)) == pytest.approx(1.0, abs=1e-6)


def test_the_papers_term_leaves_the_true_class_alone() -> None:
    logits, previous, targets = random_answers()
    gradient = slope(diversity_paper, logits, previous, targets)
    assert gradient[targets.bool()].tolist() == [0.0] * 4
    assert float(gradient.abs().sum()) > 1e-3


def test_with_two_classes_the_papers_term_is_1_and_has_no_gradient() -> None:
    logits, previous, targets = random_answers(classes=2)
    assert float(diversity_paper(logits, previous, targets)) == 1.0
    assert slope(diversity_paper, logits, previous, targets).abs().sum() == 0


def test_a_step_down_the_papers_term_makes_experts_differ_more() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        logits, previous, targets = random_answers(photos=1)
        (label,) = classes_of(targets)
        stepped = logits - 0.1 * slope(diversity_paper, logits, previous, targets)
        assert divergence(stepped, previous, label) > divergence(logits, previous, label)


def test_the_push_of_the_papers_term_fades_as_experts_differ() -> None:
    previous, targets, direction = torch.zeros(1, 4), one_hot([0], 4), torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    divergences, pushes = [], []
    for distance in (2.0, 3.0, 4.0, 6.0, 10.0, 30.0):
        divergences.append(divergence(distance * direction, previous, 0))
        pushes.append(float(slope(diversity_paper, distance * direction, previous, targets).norm()))
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
    assert float(diversity_authors(logits, previous, one_hot([0], 3))) == pytest.approx(expected, rel=1e-6)


def test_the_authors_term_hardly_moves_with_200_classes_where_the_papers_does() -> None:
    logits, previous, targets = random_answers(classes=200, spread=0.7)
    assert float(diversity_authors(logits, previous, targets)) == pytest.approx(1.0, abs=0.01)
    assert float(diversity_paper(logits, previous, targets)) < 0.8
    norms = [float(slope(term, logits, previous, targets).norm()) for term in (diversity_authors, diversity_paper)]
    assert norms[0] < 0.02 * norms[1]


# -------------------------------------------------------------------------------------------------------- expert's loss
def answer(large: Tensor, part: Tensor, joint: Tensor) -> ExpertOutput:
    return ExpertOutput(large, part, joint, torch.zeros(len(large), 1), torch.zeros(len(large), 1, 1, 1), joint)


def test_the_total_weighs_the_diversity_term_alone() -> None:
    terms = ExpertLoss(*(torch.tensor(value) for value in (1.0, 2.0, 4.0, 8.0)))
    assert float(terms.total(diversity_weight=0.5)) == 11.0
    assert float(terms.total(diversity_weight=0.0)) == 7.0


def test_each_head_has_its_own_term() -> None:
    large, part, targets = random_answers()
    joint, previous, _ = random_answers()
    terms = expert_loss(answer(large, part, joint), previous, targets)
    for name, logits in (("large", large), ("part", part), ("joint", joint)):
        assert torch.equal(getattr(terms, name), cross_entropy(logits, targets))
    assert torch.equal(terms.diversity, diversity_paper(joint, previous, targets))


def test_the_diversity_term_is_the_one_asked_for() -> None:
    joint, previous, targets = random_answers()
    output = answer(joint, joint, joint)
    authors = expert_loss(output, previous, targets, diversity="authors").diversity
    assert torch.equal(authors, diversity_authors(joint, previous, targets))
    assert float(expert_loss(output, previous, targets, diversity="none").diversity) == 0.0
    assert float(expert_loss(output, None, targets).diversity) == 0.0


def test_every_diversity_term_is_an_option_and_every_option_is_one() -> None:
    assert set(DIVERSITY) == set(get_args(Diversity))


@pytest.mark.parametrize("name", DIVERSITY)
def test_any_diversity_term_is_a_scalar_with_no_gradient_for_the_previous_expert(name: str) -> None:
    logits, previous, targets = random_answers()
    previous.requires_grad_()
    total = expert_loss(answer(logits, logits, logits.requires_grad_()), previous, targets, diversity=name)
    total.total(diversity_weight=1.0).backward()
    assert total.diversity.shape == ()
    assert previous.grad is None


def test_an_expert_without_parts_has_the_large_term_alone() -> None:
    logits, previous, targets = random_answers()
    terms = expert_loss(answer(logits, logits, logits), previous, targets, has_parts=False)
    assert torch.equal(terms.large, cross_entropy(logits, targets))
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
    cross_entropy(mixed, one_hot([1], 3)).backward()
    assert joint_logits.grad is not None
    assert gate_probs.grad is not None
    assert bool(joint_logits.grad.isfinite().all())
    assert bool(gate_probs.grad.isfinite().all())


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_mixtures_loss_tells_the_gate_to_trust_the_expert_that_is_right(mix: Literal["logits", "probs"]) -> None:
    joint_logits, targets = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]]), one_hot([1], 2)
    gate_logits = torch.zeros(1, 2, requires_grad=True)
    cross_entropy(mix_experts(joint_logits, gate_logits.softmax(1), mix=mix), targets).backward()
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
def test_the_loss_of_a_blend_is_the_sum_of_both_classes_by_their_share(label_smoothing: float, share: float) -> None:
    logits, _, targets = random_answers()
    own, other = (
        reference.cross_entropy(logits.double().numpy(), classes_of(each), label_smoothing=label_smoothing)
        for each in (targets, targets.roll(1, 0))
    )
    loss = large_term(logits, smooth_targets(blend(targets, share=share), label_smoothing))
    assert float(loss) == pytest.approx((1 - share) * own + share * other, rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_a_photo_counts_by_the_weight_of_its_class_whatever_else_is_in_the_batch(label_smoothing: float) -> None:
    logits, _, targets = random_answers(photos=6)
    weights = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0])
    naive = 0.0
    for row, label in zip(logits.double().numpy(), classes_of(targets), strict=True):
        one = reference.cross_entropy(row[None], [label], label_smoothing=label_smoothing)
        naive += weights[label].item() * one / 6
    loss = large_term(logits, smooth_targets(targets * weights, label_smoothing))
    assert float(loss) == pytest.approx(naive, rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_both_classes_of_a_blend_count_by_their_weights(label_smoothing: float) -> None:
    logits, _, targets = random_answers()
    weights = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0])
    expected = 0.0
    for each, share in ((targets, 0.6), (targets.roll(1, 0), 0.4)):
        for row, label in zip(logits.double().numpy(), classes_of(each), strict=True):
            one = reference.cross_entropy(row[None], [label], label_smoothing=label_smoothing)
            expected += share * weights[label].item() * one / 4
    loss = large_term(logits, smooth_targets(blend(targets * weights, share=0.4), label_smoothing))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("term", [diversity_paper, diversity_authors])
@pytest.mark.parametrize("classes", [2, 5, 200])
def test_weights_and_smoothing_leave_a_diversity_term_alone_and_a_blend_does_not(term: Term, classes: int) -> None:
    logits, previous, targets = random_answers(classes=classes)
    targets = one_hot([0, 1, 0, 1], classes)
    plain = term(logits, previous, targets)
    weights = torch.rand(classes) + 0.1
    for label_smoothing in (0.0, 0.1, 0.9):
        assert torch.equal(term(logits, previous, smooth_targets(targets * weights, label_smoothing)), plain)
    if classes > 2:
        blended = smooth_targets(blend(targets, share=0.4), 0.1)
        assert not torch.equal(term(logits, previous, blended), plain)
        assert torch.equal(term(logits, previous, smooth_targets(blend(targets * weights, share=0.4), 0.1)),
                           term(logits, previous, blended))  # fmt: skip


def second_classes(targets: Tensor) -> tuple[Tensor, list[int]]:
    """Targets of pictures with a share of a second class, and that class."""
    others = (targets.argmax(1) + 2) % targets.shape[1]
    return 0.7 * targets + 0.3 * one_hot(others, targets.shape[1]), others.tolist()


def test_both_classes_of_a_blended_picture_are_taken_out_by_the_papers_term() -> None:
    logits, previous, targets = random_answers(classes=6)
    blended, others = second_classes(targets)
    kls = []
    for row, before, own, other in zip(logits, previous, classes_of(targets), others, strict=True):
        wrong = [c for c in range(6) if c not in (own, other)]
        p, q = before[wrong].double().softmax(0), row[wrong].double().softmax(0)
        kls.append(float((p * (p / q).log()).sum()))
    expected = sum(math.exp(-kl) for kl in kls) / len(kls)
    assert float(diversity_paper(logits, previous, blended)) == pytest.approx(expected, rel=1e-5)


def test_both_classes_of_a_blended_picture_are_taken_out_by_the_authors_term() -> None:
    logits, previous, targets = random_answers(classes=6)
    blended, others = second_classes(targets)
    terms = []
    for row, before, own, other in zip(logits, previous, classes_of(targets), others, strict=True):
        q, p = row.double().softmax(0), before.double().softmax(0)
        terms += [1.0 if c in (own, other) else math.exp(-float(p[c] * (p[c] / q[c]).log())) for c in range(6)]
    found = float(diversity_authors(logits, previous, blended))
    assert found == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("term", [diversity_paper, diversity_authors])
def test_a_blend_of_two_classes_leaves_the_other_one_wrong(term: Term) -> None:
    logits, previous, targets = random_answers(classes=2)
    assert torch.equal(term(logits, previous, 0.7 * targets + 0.3 * (1 - targets)), term(logits, previous, targets))


@pytest.mark.parametrize("term", [diversity_paper, diversity_authors])
@pytest.mark.parametrize(("classes", "share"), [(2, 0.5), (3, 0.3), (3, 0.5)])
def test_a_diversity_term_of_an_even_blend_of_few_classes_has_a_finite_slope(
    term: Term, classes: int, share: float
) -> None:
    logits, previous, _ = random_answers(classes=classes)
    gradient = slope(term, logits, previous, blend(one_hot([0, 1, 0, 1], classes), share=share))
    assert bool(gradient.isfinite().all())
