"""Fusion: what answers is chosen by validation loss, prefers fewer experts when in doubt, and is stored as a model."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mge.config import ModelConfig
from mge.core.losses import fuse_heads, mix_experts, temper_gate
from mge.core.outputs import MixtureOutput
from mge.data.loader import Batch
from mge.evaluation.fusion import (
    GATE_SCALES,
    TEMPERATURES,
    Fusion,
    apply_fusion,
    choose_fusion,
    fusion_losses,
    list_fusions,
)
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel

CONFIG = ModelConfig(backbone="test_resnet", size=64, experts=3, part_filters=2)
FUSIONS = list_fusions(CONFIG)


def output_of(joint: torch.Tensor, *, gate: torch.Tensor | None = None, large: torch.Tensor | None = None,
              part: torch.Tensor | None = None) -> MixtureOutput:  # fmt: skip
    gate_probs = torch.full(joint.shape[:2], 1 / joint.shape[1]) if gate is None else gate
    nothing = torch.zeros(len(joint), 1)
    logits = mix_experts(joint, gate_probs, mix="logits")
    large, part = joint if large is None else large, joint if part is None else part
    return MixtureOutput(logits, gate_probs, large, part, joint, nothing, nothing)


def chosen(output: MixtureOutput, labels: torch.Tensor) -> Fusion:
    batch = Batch(torch.zeros(len(labels)), labels, torch.arange(len(labels)))
    return choose_fusion(fusion_losses(output, batch, fusions=FUSIONS, mix="logits").losses, FUSIONS)


def noisy(labels: torch.Tensor, *, signal: float, experts: int = 3) -> torch.Tensor:
    return signal * torch.eye(4)[labels][:, None] + torch.randn(len(labels), experts, 4)


def test_experts_that_err_independently_all_answer() -> None:
    labels = torch.arange(400) % 4
    fusion = chosen(output_of(noisy(labels, signal=1.5)), labels)
    assert fusion.experts == 3


def test_later_experts_that_know_nothing_are_left_out() -> None:
    labels = torch.arange(400) % 4
    joint = noisy(labels, signal=2)
    joint[:, 1:] = 3 * torch.randn(400, 2, 4)
    assert chosen(output_of(joint), labels).experts == 1


def test_later_experts_that_only_repeat_the_first_are_left_out_by_few_photos_too() -> None:
    labels = torch.arange(2000) % 4
    joint = noisy(labels, signal=2)
    joint[:, 1:] = joint[:, :1] + torch.randn(2000, 2, 4)
    few = [
        chosen(output_of(part), label).experts for part, label in zip(joint.split(20), labels.split(20), strict=True)
    ]
    assert chosen(output_of(joint), labels).experts == 1
    assert sum(number == 1 for number in few) > 0.7 * len(few)


@pytest.mark.parametrize("heads", ["large", "joint"])
def test_the_heads_that_know_most_answer(heads: str) -> None:
    labels = torch.arange(200) % 4
    good, bad = noisy(labels, signal=4), 3 * torch.randn(200, 3, 4)
    output = output_of(good if heads == "joint" else bad, large=good if heads == "large" else bad, part=bad)
    assert chosen(output, labels).heads == heads


def test_a_gate_that_follows_the_wrong_expert_is_made_uniform_and_one_that_follows_the_right_one_is_kept() -> None:
    labels = torch.arange(200) % 4
    right, wrong = noisy(labels, signal=3, experts=1), noisy((labels + 1) % 4, signal=3, experts=1)
    joint = torch.cat((wrong, right, right + 0.1 * torch.randn_like(right)), dim=1)
    to_the_right = torch.tensor([[0.02, 0.49, 0.49]]).expand(200, 3)
    assert chosen(output_of(joint, gate=to_the_right), labels).gate_scale == 1
    to_the_wrong = torch.tensor([[0.98, 0.01, 0.01]]).expand(200, 3)
    only_gate = list_fusions(CONFIG, only_gate=True)
    batch = Batch(torch.zeros(200), labels, torch.arange(200))
    losses = fusion_losses(output_of(joint, gate=to_the_wrong), batch, fusions=only_gate, mix="logits").losses
    assert choose_fusion(losses, only_gate) == Fusion(3, "joint", 0.0)


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_losses_are_those_of_the_mixture_that_is_meant(mix: str) -> None:
    labels, gate = torch.arange(4), torch.randn(4, 3).softmax(1)
    large, part, joint = torch.randn(3, 4, 3, 4)
    output = output_of(joint, gate=gate, large=large, part=part)
    batch = Batch(torch.zeros(4), labels, torch.arange(4))
    losses = fusion_losses(output, batch, fusions=FUSIONS, mix=mix).losses  # type: ignore[arg-type]
    assert losses.shape == (4, len(FUSIONS), len(TEMPERATURES))
    for number, (experts, heads, scale) in enumerate(FUSIONS):
        fused = {"joint": joint, "large": large, "all": (large + part + joint) / 3}[heads][:, :experts]
        weights = (scale * gate[:, :experts].log()).softmax(1)[:, :, None]
        logits = (weights * fused).sum(1) if mix == "logits" else (weights * fused.softmax(2)).sum(1).log()
        for column, temperature in enumerate(TEMPERATURES):
            expected = nn.functional.cross_entropy(logits / temperature, labels, reduction="none")
            torch.testing.assert_close(losses[:, number, column], expected)


def test_nan_losses_choose_no_expert_that_gave_them() -> None:
    labels = torch.arange(40) % 4
    joint = noisy(labels, signal=2)
    joint[:, 2] = math.nan
    assert chosen(output_of(joint), labels).experts < 3


def test_a_plain_network_has_one_way_to_answer() -> None:
    assert list_fusions(dataclasses.replace(CONFIG, experts=1, part_filters=0)) == [Fusion(1, "joint", 1.0)]
    assert [fusion.gate_scale for fusion in list_fusions(CONFIG, only_gate=True)] == list(GATE_SCALES)


@pytest.mark.parametrize(
    "fusion",
    [Fusion(3, "joint", 0.25), Fusion(3, "all", 0.0), Fusion(2, "large", 1.0), Fusion(1, "joint", 1.0),
     Fusion(1, "all", 1.0), Fusion(1, "large", 1.0)],
)  # fmt: skip
def test_the_stored_model_answers_as_the_fusion_says(fusion: Fusion) -> None:
    model = MixtureOfExperts(CONFIG, num_classes=4, pretrained=False).eval()
    assert model.gate is not None
    for parameter in model.gate.layers.parameters():
        nn.init.normal_(parameter, std=0.1)
    stored = StoredModel(model.config, ("a", "b", "c", "d"), dict(model.state_dict()), {"preprocessing": {}})
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    fused = apply_fusion(stored, fusion)
    again = MixtureOfExperts(fused.config, num_classes=4, pretrained=False).eval()
    again.load_state_dict(fused.state)  # nothing is missing, and nothing is left over
    with torch.inference_mode():
        before, after = model(images), again(images)
        heads = fuse_heads(before.large_logits, before.part_logits, before.joint_logits, heads=fusion.heads)
        gate = temper_gate(before.gate_probs[:, : fusion.experts], fusion.gate_scale)
        expected = mix_experts(heads[:, : fusion.experts], gate, mix="logits")
    torch.testing.assert_close(after.logits, expected)
    torch.testing.assert_close(after.gate_probs, gate)
    torch.testing.assert_close(after.boxes_xyxy, before.boxes_xyxy[:, : fusion.experts])
    assert fused.metadata["fusion"] == {**fusion._asdict(), "trained_experts": 3}
