"""Which parameter learns from which term, and that experts can be trained one after the other."""

import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mge.core.losses import classification_loss, diversity_paper, expert_loss, mix_experts
from mge.core.outputs import ExpertOutput
from mge.models.gate import Gate
from mge.models.mixture import ExpertPass, MixtureOfExperts
from tests.models.networks import build, draw, expert_of

LABELS = torch.tensor([0, 3, 4])
HEADS = {"large_head", "part_filters", "part_head", "joint_head", "backbone"}


def learn(*, num_experts: int = 3, **options: Any) -> MixtureOfExperts:  # noqa: ANN401
    return build(num_experts=num_experts, **options).train()


def reached(net: nn.Module, loss: Tensor, *, depth: int = 3) -> set[str]:
    """The parts of the network, by the first names of their parameters, that a loss gives a gradient other than 0."""
    net.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    with_gradient = [name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    return {".".join(name.split(".")[:depth]) for name in with_gradient}


def touched(net: nn.Module, loss: Tensor) -> set[str]:
    """The experts and gates that a loss gives any gradient at all, be it 0."""
    net.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    return {".".join(name.split(".")[:2]) for name, p in net.named_parameters() if p.grad is not None}


def parts_of(number: int, *parts: str) -> set[str]:
    return {f"experts.{number}.{part}" for part in parts}


# ------------------------------------------------------- terms
@pytest.mark.parametrize("part_gradient", [True, False])
def test_the_large_term_trains_the_experts_backbone_and_large_head(part_gradient: bool) -> None:
    net = learn(part_gradient=part_gradient)
    for number, expert_pass in enumerate(net.run_experts(draw(), LABELS)):
        loss = classification_loss(expert_pass.output.large_logits, LABELS)
        assert reached(net, loss) == parts_of(number, "backbone", "large_head")


def test_the_part_term_trains_filters_head_and_with_part_gradient_the_backbone() -> None:
    net = learn()
    for number, expert_pass in enumerate(net.run_experts(draw(), LABELS)):
        loss = classification_loss(expert_pass.output.part_logits, LABELS)
        assert reached(net, loss) == parts_of(number, "backbone", "part_filters", "part_head")
        stages = {name.removeprefix(f"experts.{number}.backbone.net.") for name in reached(net, loss, depth=5)}
        assert {"layer1", "layer2", "layer3"} <= stages
        assert "layer4" not in stages  # the filters read the stage before the last


def test_the_joint_term_trains_its_head_the_filters_and_with_part_gradient_the_backbone() -> None:
    net = learn()
    for number, expert_pass in enumerate(net.run_experts(draw(), LABELS)):
        loss = classification_loss(expert_pass.output.joint_logits, LABELS)
        assert reached(net, loss) == parts_of(number, "backbone", "part_filters", "joint_head")
        assert any("layer4" in name for name in reached(net, loss, depth=5))


def test_without_part_gradient_part_and_joint_terms_train_their_heads_alone() -> None:
    net = learn(part_gradient=False)
    for number, expert_pass in enumerate(net.run_experts(draw(), LABELS)):
        part, joint = (
            classification_loss(logits, LABELS)
            for logits in (expert_pass.output.part_logits, expert_pass.output.joint_logits)
        )
        assert reached(net, part) == parts_of(number, "part_filters", "part_head")
        assert reached(net, joint) == parts_of(number, "joint_head")


@pytest.mark.parametrize("part_gradient", [True, False])
def test_the_diversity_term_never_reaches_the_former_expert(part_gradient: bool) -> None:
    net = learn(part_gradient=part_gradient)
    passes = list(net.run_experts(draw(), LABELS))
    for number in (1, 2):
        previous, joint = passes[number - 1].output.joint_logits, passes[number].output.joint_logits
        assert previous.requires_grad
        loss = diversity_paper(joint, previous, LABELS)
        shared = ("backbone", "part_filters") if part_gradient else ()
        assert reached(net, loss) == parts_of(number, "joint_head", *shared)
        assert touched(net, loss) == {f"experts.{number}"}


def test_the_losses_of_later_experts_never_reach_former_ones() -> None:
    net = learn()
    previous: Tensor | None = None
    for number, expert_pass in enumerate(net.run_experts(draw(), LABELS)):
        loss = expert_loss(expert_pass.output, previous, LABELS).total(diversity_weight=1.0)
        assert touched(net, loss) == {f"experts.{number}"}
        assert reached(net, loss) == parts_of(number, *HEADS)
        previous = expert_pass.output.joint_logits


def test_every_parameter_of_an_expert_learns_from_its_loss() -> None:
    net = learn(num_experts=2, gate="own")
    previous: Tensor | None = None
    for expert_pass in net.run_experts(draw(), LABELS):
        expert_loss(expert_pass.output, previous, LABELS).total(diversity_weight=1.0).backward()
        previous = expert_pass.output.joint_logits
    assert [name for name, p in net.experts.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("mix", ["logits", "probs"])
@pytest.mark.parametrize("gate", ["own", "shared"])
def test_the_gates_loss_never_reaches_the_experts(gate: str, mix: str) -> None:
    net = learn(gate=gate, mix=mix)
    for parameter in cast(Gate, net.gate).layers.parameters():
        nn.init.normal_(parameter)  # a gate that has not learned anything yet sends its backbone no gradient
    passes = list(net.run_experts(draw(), LABELS))
    joint_logits = torch.stack([expert_pass.output.joint_logits.detach() for expert_pass in passes], dim=1)
    assert passes[0].output.large_features.requires_grad
    gate_probs = net.weigh(passes[0].view, passes[0].output.large_features)
    loss = classification_loss(mix_experts(joint_logits, gate_probs, mix=net.config.mix), LABELS)
    assert reached(net, loss, depth=2) == {"gate.layers"} | ({"gate.backbone"} if gate == "own" else set())
    assert touched(net, loss) == reached(net, loss, depth=2)


def test_nothing_that_an_expert_hands_on_carries_a_gradient() -> None:
    net = learn(zoom_from="previous")
    for expert_pass in net.run_experts(draw(), LABELS):
        assert not expert_pass.view.requires_grad
        assert not expert_pass.attention.requires_grad
        assert not expert_pass.boxes_xyxy.requires_grad
        assert not expert_pass.next_boxes_xyxy.requires_grad
        assert expert_pass.output.features.requires_grad


def test_an_expert_that_is_frozen_still_lets_the_next_one_learn() -> None:
    net = learn(num_experts=2)
    net.experts[0].requires_grad_(False)
    first, second = net.run_experts(draw(), LABELS)
    assert not first.output.joint_logits.requires_grad
    assert touched(net, expert_loss(second.output, first.output.joint_logits, LABELS).joint) == {"experts.1"}


# -------------------------------------------------------------------------------------------------- expert after expert
def gradients(net: MixtureOfExperts, fill: Callable[[MixtureOfExperts], None]) -> dict[str, Tensor]:
    net.zero_grad(set_to_none=True)
    fill(net)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def one_after_the_other(net: MixtureOfExperts) -> None:
    previous: Tensor | None = None
    for expert_pass in net.run_experts(draw(), LABELS):
        expert_loss(expert_pass.output, previous, LABELS).total(diversity_weight=2.0).backward()
        previous = expert_pass.output.joint_logits.detach()


def all_at_once(net: MixtureOfExperts) -> None:
    passes = list(net.run_experts(draw(), LABELS))
    previous_ones = [None, *(expert_pass.output.joint_logits for expert_pass in passes[:-1])]
    terms = [
        expert_loss(expert_pass.output, previous, LABELS)
        for expert_pass, previous in zip(passes, previous_ones, strict=True)
    ]
    torch.stack([term.total(diversity_weight=2.0) for term in terms]).sum().backward()


def through_forward(net: MixtureOfExperts) -> None:
    output = net(draw(), LABELS)
    total, previous = torch.zeros(()), None
    nothing = torch.empty(0)
    for number in range(net.active_experts):
        large, part, joint = (getattr(output, f"{head}_logits")[:, number] for head in ("large", "part", "joint"))
        said = ExpertOutput(large, part, joint, nothing, nothing, joint)
        total = total + expert_loss(said, previous, LABELS).total(diversity_weight=2.0)
        previous = said.joint_logits
    total.backward()


@pytest.mark.parametrize("zoom_from", ["photo", "previous"])
@pytest.mark.parametrize("part_gradient", [True, False])
def test_a_backward_for_each_expert_gives_the_gradients_of_one_for_all(part_gradient: bool, zoom_from: str) -> None:
    net = learn(part_gradient=part_gradient, zoom_from=zoom_from)
    expected = gradients(net, all_at_once)
    assert len(expected) == len(list(net.experts.parameters()))
    for way in (one_after_the_other, through_forward):
        found = gradients(net, way)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * max(scale, 1e-3), msg=name)


# --------------------------------------------------------------------------------------------------------------- memory
def test_an_experts_activations_are_gone_before_the_next_one_runs() -> None:
    net = learn()
    kept: dict[str, weakref.ref[Tensor]] = {}
    alive: list[list[str]] = []

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _given, tensor: kept.update({name: weakref.ref(tensor)})

    for number in range(3):
        expert = expert_of(net, number)
        expert.backbone.net.layer1.register_forward_hook(keep(f"layer1 of expert {number}"))
        expert.backbone.net.layer3.register_forward_hook(keep(f"layer3 of expert {number}"))
        expert.register_forward_pre_hook(
            lambda _module, _given: alive.append([name for name, tensor in kept.items() if tensor() is not None])
        )
    gc.disable()  # nothing waits for the collector of cycles
    try:
        previous: Tensor | None = None
        for expert_pass in net.run_experts(draw(), LABELS):  # enumerate would hold on to the former look
            number = len(alive) - 1
            kept[f"features of expert {number}"] = weakref.ref(expert_pass.output.features)
            kept[f"logits of expert {number}"] = weakref.ref(expert_pass.output.joint_logits)
            loss = expert_loss(expert_pass.output, previous, LABELS).total(diversity_weight=1.0)
            assert kept[f"layer1 of expert {number}"]() is not None
            loss.backward()
            previous = expert_pass.output.joint_logits.detach()
            del expert_pass, loss
    finally:
        gc.enable()
    assert alive == [[], [], []]
    assert len(kept) == 12


def test_an_expert_runs_when_its_turn_is_asked_for() -> None:
    net, calls = learn(), list[int]()
    for number in range(3):
        net.experts[number].register_forward_pre_hook(lambda _module, _given, number=number: calls.append(number))
    passes = net.run_experts(draw(), LABELS)
    assert calls == []
    first: ExpertPass = next(passes)
    assert calls == [0]
    del first
    next(passes)
    assert calls == [0, 1]
