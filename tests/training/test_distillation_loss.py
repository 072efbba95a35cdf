"""The student's loss: hand-worked values, the naive loops, gradients, and what must hold for any logits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mge.core.losses import smooth_targets
from mge.training.distillation_loss import distillation_loss
from tests import reference
from tests.targets import one_hot


def random_answers(*, photos: int = 4, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """A student's logits, its teacher's, and the targets of true classes."""
    logits, teacher = 2 * torch.randn(2, photos, classes)
    return logits, teacher, one_hot(torch.randint(classes, (photos,)), classes)


def test_a_teacher_that_knows_and_a_student_that_does_not_are_log_2_apart() -> None:
    sure = torch.tensor([[200.0, 0.0]])
    loss = distillation_loss(torch.zeros(1, 2), sure, one_hot([0], 2), temperature=1, teacher_weight=1)
    assert float(loss) == pytest.approx(math.log(2))


@pytest.mark.parametrize("temperature", [1.0, 2.5, 8.0])
@pytest.mark.parametrize("teacher_weight", [0.0, 0.3, 1.0])
def test_the_loss_and_its_slope_are_those_of_the_naive_one(temperature: float, teacher_weight: float) -> None:
    logits, teacher, targets = random_answers()
    options: dict[str, Any] = {"temperature": temperature, "teacher_weight": teacher_weight}

    def naive(point: reference.Array) -> float:
        labels = targets.argmax(1).tolist()
        return reference.distillation(point, teacher.double().numpy(), labels, label_smoothing=0.1, **options)

    leaf = logits.clone().requires_grad_()
    loss = distillation_loss(leaf, teacher, smooth_targets(targets, 0.1), **options)
    (slope,) = torch.autograd.grad(loss, leaf)
    point = logits.double().numpy()
    assert float(loss.detach()) == pytest.approx(naive(point), rel=1e-5)
    torch.testing.assert_close(slope.double(), torch.from_numpy(reference.slopes(naive, point)), rtol=1e-4, atol=1e-6)


def test_nothing_is_left_to_learn_from_a_teacher_that_says_the_same() -> None:
    logits, _, targets = random_answers()
    shifted = (logits + 3).requires_grad_()  # a constant added to all logits says nothing
    loss = distillation_loss(shifted, logits, targets, temperature=4, teacher_weight=1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert shifted.grad is not None
    assert shifted.grad.abs().max() < 1e-6


def test_without_the_teacher_the_loss_is_the_cross_entropy() -> None:
    logits, teacher, targets = random_answers()
    loss = distillation_loss(logits, teacher, targets, temperature=4, teacher_weight=0)
    assert loss.equal(functional.cross_entropy(logits, targets))


def test_at_a_high_temperature_logits_are_matched() -> None:
    """Hinton et al., equation 4: with logits that sum to 0, the slope is (student - teacher) / classes."""
    logits, teacher, targets = random_answers()
    logits, teacher = logits - logits.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True)
    leaf = logits.double().requires_grad_()
    distillation_loss(leaf, teacher, targets, temperature=1000, teacher_weight=1).backward()
    assert leaf.grad is not None
    expected = (logits - teacher) / logits.shape[1] / len(logits)
    torch.testing.assert_close(leaf.grad, expected.double(), rtol=1e-2, atol=1e-4)


def test_the_teacher_receives_no_gradient() -> None:
    logits, teacher, targets = random_answers()
    student, asked = logits.requires_grad_(), teacher.requires_grad_()
    distillation_loss(student, asked, targets, temperature=2, teacher_weight=0.5).backward()
    assert asked.grad is None


def test_a_teachers_log_probabilities_are_as_good_as_its_logits() -> None:
    logits, teacher, targets = random_answers()
    losses = [
        distillation_loss(logits, answer, targets, temperature=3, teacher_weight=1)
        for answer in (teacher, teacher.log_softmax(1))
    ]
    torch.testing.assert_close(*losses)


def test_the_loss_of_bfloat16_logits_is_float32() -> None:
    logits, teacher, targets = random_answers()
    loss = distillation_loss(logits.bfloat16(), teacher.bfloat16(), targets, temperature=2, teacher_weight=0.5)
    assert loss.dtype == torch.float32
