"""Heads against their naive versions."""

import numpy as np
import pytest
import torch
from torch import nn

from mge.models import heads
from mge.models.heads import UNIT_SCALE, ClasswiseLinear, JointHead, PartFilters, unit
from tests import reference


@pytest.mark.parametrize("padding", [0, 1])
def test_part_filters_give_the_largest_response_of_each(padding: int) -> None:
    filters, features = PartFilters(4, 6, padding=padding), torch.randn(3, 4, 3, 5)
    weight, bias = filters.filters.weight[:, :, 0, 0].detach().double().numpy(), filters.filters.bias
    assert bias is not None
    with torch.no_grad():
        bias.copy_(torch.tensor([-1.0, 3.0, -9.0, 0.0, 0.5, -0.5]))
    expected = [
        reference.part_features(photo, weight, bias.detach().double().numpy(), padding=padding)
        for photo in features.double().numpy()
    ]
    found = filters(features).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.min() == 0  # the filter with the bias -9


def test_a_part_is_found_wherever_it_lies() -> None:
    filters, features = PartFilters(4, 6), torch.randn(2, 4, 3, 5)
    shuffled = features.flatten(2)[:, :, torch.randperm(15)].unflatten(2, (3, 5))
    torch.testing.assert_close(filters(shuffled), filters(features))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_part_filters_are_those_of_convolution_and_pooling(
    padding: int, layout: torch.memory_format
) -> None:
    filters = PartFilters(5, 7, padding=padding).double()
    features = torch.randn(3, 5, 4, 6, dtype=torch.double).to(memory_format=layout).requires_grad_()
    wanted = torch.randn(3, 7, dtype=torch.double)
    variables = [features, *filters.parameters()]
    found = torch.autograd.grad((filters(features) * wanted).sum(), variables)
    pooled = filters.filters(features).amax((2, 3)).relu()
    expected = torch.autograd.grad((pooled * wanted).sum(), variables)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


def test_part_filters_answer_the_same_with_gradients_and_without() -> None:
    filters, features = PartFilters(4, 6), torch.randn(2, 4, 3, 5)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            learning = filters(features)
            with torch.no_grad():
                assert torch.equal(filters(features), learning)


def test_part_filters_learn_the_same_where_there_are_no_sparse_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    filters, features = PartFilters(4, 6), torch.randn(2, 4, 3, 5)
    sparse = torch.autograd.grad(filters(features).square().sum(), list(filters.parameters()))
    monkeypatch.setattr(heads, "SPARSE_DEVICES", ())
    dense = torch.autograd.grad(filters(features).square().sum(), list(filters.parameters()))
    torch.testing.assert_close(sparse, dense)


def test_part_filters_learn_in_bfloat16_from_features_that_do_not() -> None:
    filters, features = PartFilters(4, 6), torch.randn(2, 4, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        filters(features.bfloat16()).sum().backward()
    for parameter in filters.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_a_classwise_layer_is_a_dense_layer_with_the_weights_of_other_classes_at_0() -> None:
    layer, features = ClasswiseLinear(4, 3), torch.randn(5, 12)
    dense = nn.Linear(12, 4)
    with torch.no_grad():
        dense.weight.zero_()
        for c in range(4):
            dense.weight[c, 3 * c : 3 * c + 3] = layer.weight[c]
        dense.bias.copy_(layer.bias)
    torch.testing.assert_close(layer(features), dense(features))


def test_a_classwise_layer_grows_linearly_with_classes() -> None:
    sizes = [sum(p.numel() for p in ClasswiseLinear(classes, 10).parameters()) for classes in (100, 200, 400)]
    assert sizes == [1100, 2200, 4400]


def test_a_classwise_layer_starts_within_the_bounds_of_a_linear_layer_of_its_inputs() -> None:
    layer = ClasswiseLinear(200, 16)
    for parameter in layer.parameters():
        assert 0.2 < parameter.detach().abs().max() <= 0.25


def test_a_unit_vector_has_length_10_and_its_direction() -> None:
    features = torch.randn(4, 7)
    np.testing.assert_allclose(unit(features), [reference.unit(row) for row in features.tolist()], rtol=1e-5)
    torch.testing.assert_close(unit(features).norm(dim=1), torch.full((4,), UNIT_SCALE))
    assert UNIT_SCALE == 10


def test_a_unit_vector_of_nothing_is_nothing_and_has_finite_gradients() -> None:
    features = torch.zeros(1, 4, requires_grad=True)
    scaled = unit(features.relu())
    assert scaled.tolist() == [[0.0] * 4]
    scaled.sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[0.0] * 4]


def test_a_unit_vector_is_float32() -> None:
    assert unit(torch.randn(2, 8).bfloat16()).dtype == torch.float32


def test_a_joint_head_is_one_layer_on_both_unit_vectors_side_by_side() -> None:
    head, large, part = JointHead(6, 2, 4), torch.randn(3, 6), torch.rand(3, 8)
    assert isinstance(head.part, nn.Linear)
    weight = torch.cat((head.large.weight, head.part.weight), dim=1).detach().double().numpy()
    joined = np.array(
        [reference.unit(a) + reference.unit(b) for a, b in zip(large.tolist(), part.tolist(), strict=True)]
    )
    expected = joined @ weight.T + head.large.bias.detach().double().numpy()
    np.testing.assert_allclose(head(large, part).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_classwise_joint_head_reads_the_parts_of_each_class_for_itself() -> None:
    head, large, part = JointHead(6, 2, 4, classwise=True), torch.randn(1, 6), torch.rand(1, 8)
    part.requires_grad_()
    for c in range(4):
        # Scaling to unit length ties all parts together, so the slope behind it is looked at.
        scaled = unit(part).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(head.part(scaled)[0, c], scaled)
        assert gradient[0].nonzero().flatten().tolist() == [2 * c, 2 * c + 1]
    assert head(large, part).shape == (1, 4)


def test_the_length_of_features_does_not_change_joint_logits() -> None:
    head, large, part = JointHead(6, 2, 4), torch.randn(3, 6), torch.rand(3, 8)
    torch.testing.assert_close(head(100 * large, 0.01 * part), head(large, part))
