import math

import pytest
import torch

from mge.config import TrainConfig
from mge.models.mixture import create_model
from mge.training.optimizer import build_optimizer, learning_rate_factor, set_learning_rate


@pytest.mark.parametrize(
    ("epoch", "factor"), [(0, 5e-4), (1, 0.5), (2, 1.0), (6, 0.5 * (1 + math.cos(math.pi / 2))), (10, 0.0)]
)
def test_cosine_rises_during_the_warm_up_and_falls_to_zero(epoch: float, factor: float) -> None:
    config = TrainConfig(epochs=10, warmup_epochs=2)
    assert learning_rate_factor(epoch, config=config) == pytest.approx(factor)


def test_step_decay_is_a_tenth_after_each_step() -> None:
    config = TrainConfig(epochs=100, decay="step", decay_epochs=30)
    factors = [learning_rate_factor(epoch, config=config) for epoch in (0, 29.9, 30, 60, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.001])


@pytest.mark.parametrize("gate", ["own", "shared"])
def test_every_parameter_has_the_rate_of_its_kind(gate: str) -> None:
    model = create_model("test_resnet", num_classes=3, experts=2, pretrained=False, gate=gate)
    config = TrainConfig(backbone_lr=0.1, head_lr=0.7, gate_lr=0.4, epochs=1)
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, epoch=0, config=config)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        expected = 0.1 if ".backbone." in name else 0.4 if name.startswith("gate.layers") else 0.7
        assert rates[id(parameter)] == pytest.approx(expected), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_what_is_frozen_is_left_out() -> None:
    model = create_model("test_resnet", num_classes=3, experts=2, pretrained=False)
    model.experts[0].requires_grad_(False)
    optimizer = build_optimizer(model, TrainConfig())
    chosen = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not chosen & {id(parameter) for parameter in model.experts[0].parameters()}
    assert isinstance(optimizer, torch.optim.SGD)
