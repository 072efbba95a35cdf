"""The gate: what it reads and what it leaves alone."""

from typing import cast

import torch
from torch import nn

from mge.models.backbone import Backbone
from mge.models.gate import HIDDEN_WIDTH, Gate
from tests.models.networks import draw


def leaning(gate: Gate) -> Gate:
    """The gate after some learning."""
    nn.init.normal_(cast(nn.Linear, gate.layers[1]).weight)
    return gate


def test_a_gate_starts_with_all_experts_even() -> None:
    gate = Gate(7, 3)
    assert gate(draw(4), torch.randn(4, 7)).tolist() == [[0.0] * 3] * 4
    leaning(gate).start_uniform()
    assert gate(draw(4), torch.randn(4, 7)).tolist() == [[0.0] * 3] * 4


def test_a_shared_gate_is_two_linear_layers_on_the_first_experts_features() -> None:
    gate, features = leaning(Gate(7, 3)), torch.randn(4, 7)
    first, second = (cast(nn.Linear, layer) for layer in gate.layers)
    expected = (features @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(gate(draw(4), features), expected)
    assert first.weight.shape == (HIDDEN_WIDTH, 7)
    assert gate.backbone is None


def test_a_shared_gate_gives_the_features_no_gradient() -> None:
    gate, features = Gate(7, 3), torch.randn(4, 7, requires_grad=True)
    gate(draw(4), features).sum().backward()
    assert features.grad is None
    assert all(parameter.grad is not None for parameter in gate.parameters())


def test_a_gate_of_its_own_reads_the_view_and_not_the_features() -> None:
    backbone = Backbone("test_resnet", pretrained=False)
    gate = leaning(Gate(backbone.width, 2, backbone=backbone)).eval()
    view = draw(2)
    logits = gate(view, torch.zeros(2, backbone.width))
    torch.testing.assert_close(gate(view, torch.ones(2, backbone.width)), logits)
    assert not torch.allclose(gate(view.flip(0), torch.zeros(2, backbone.width)), logits)
    torch.testing.assert_close(gate.layers(backbone(view).large.mean((2, 3))), logits)


def test_a_gate_of_its_own_trains_its_backbone() -> None:
    backbone = Backbone("test_resnet", pretrained=False)
    gate = Gate(backbone.width, 2, backbone=backbone)
    gate(draw(2), torch.zeros(2, backbone.width))[:, 0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in gate.parameters())
