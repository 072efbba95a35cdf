"""How far the gate is trusted: chosen by loss, and stored as a gate whose logits are multiplied."""

import dataclasses

import pytest
import torch
from torch import nn

from mge.config import ModelConfig
from mge.core.losses import mix_experts, temper_gate
from mge.core.outputs import MixtureOutput
from mge.data.batches import Batch
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel
from mge.training.gate_trust import TRUSTS, choose_trust, try_trusts, with_trust


def leaning_model() -> MixtureOfExperts:
    model = MixtureOfExperts("test_resnet", num_classes=4, num_experts=3, pretrained=False, size=64).eval()
    assert model.gate is not None
    for parameter in model.gate.layers.parameters():
        nn.init.normal_(parameter)
    return model


def output_of(joint_logits: torch.Tensor, gate_probs: torch.Tensor) -> MixtureOutput:
    nothing = torch.zeros(len(joint_logits), 1)
    logits = mix_experts(joint_logits, gate_probs, mix="logits")
    return MixtureOutput(logits, gate_probs, joint_logits, joint_logits, joint_logits, nothing, nothing)


def losses_of(joint_logits: torch.Tensor, gate_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    batch = Batch(nothing := torch.zeros(len(labels)), labels, nothing.long())
    return try_trusts(output_of(joint_logits, gate_probs), batch, mix="logits").losses


def test_a_gate_that_follows_the_wrong_expert_is_not_trusted_and_one_that_follows_the_right_one_is() -> None:
    labels = torch.arange(8) % 4
    right, wrong = 5 * torch.eye(4)[labels], 5 * torch.eye(4)[(labels + 1) % 4]
    joint_logits = torch.stack((right, wrong), dim=1)
    to_the_right = torch.tensor([[0.9, 0.1]]).expand(8, 2)
    assert choose_trust(losses_of(joint_logits, to_the_right, labels)) == 1
    assert choose_trust(losses_of(joint_logits, to_the_right.flip(1), labels)) == 0


def test_an_even_gate_may_be_trusted_in_full() -> None:
    labels = torch.arange(4)
    assert choose_trust(losses_of(torch.randn(4, 3, 4), torch.full((4, 3), 1 / 3), labels)) == 1


def test_the_losses_are_those_of_the_mixture_with_multiplied_gate_logits() -> None:
    labels, joint_logits, gate_logits = torch.arange(4), torch.randn(4, 3, 4), torch.randn(4, 3)
    losses = losses_of(joint_logits, gate_logits.softmax(1), labels)
    for column, trust in enumerate(TRUSTS):
        mixture = ((trust * gate_logits).softmax(1)[:, :, None] * joint_logits).sum(1)
        expected = nn.functional.cross_entropy(mixture, labels, reduction="none")
        torch.testing.assert_close(losses[:, column], expected)


@pytest.mark.parametrize("trust", [0.0, 0.25])
def test_a_stored_gate_says_what_it_was_tempered_to(trust: float) -> None:
    model, images = leaning_model(), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    config = ModelConfig(backbone="test_resnet", size=64)
    stored = StoredModel(config, ("a", "b", "c", "d"), dict(model.state_dict()), {"preprocessing": {}})
    with torch.inference_mode():
        before = model(images)
        tempered = with_trust(stored, trust)
        model.load_state_dict(tempered.state)
        after = model(images)
    assert before.gate_probs.max() > 0.5
    torch.testing.assert_close(after.gate_probs, temper_gate(before.gate_probs, trust))
    assert torch.equal(after.joint_logits, before.joint_logits)
    assert tempered.metadata == {"preprocessing": {}, "gate_trust": trust}
    assert dataclasses.replace(tempered, state={}, metadata={}) == dataclasses.replace(stored, state={}, metadata={})
