"""The cascade: who looks at which photo, what comes out, and how much is computed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mge.cascade.runner import run_cascade
from mge.core.outputs import CascadeOutput, MixtureOutput
from mge.errors import ConfigError
from mge.models.mixture import MixtureOfExperts
from tests import reference
from tests.models.networks import CLASSES, build, draw, expert_of

GATES = ["own", "shared"]
NO_EXIT = 1.5


def whole(net: MixtureOfExperts, images: Tensor) -> MixtureOutput:
    with torch.inference_mode():
        output: MixtureOutput = net(images)
    return output


def margins(output: MixtureOutput, *, mix: str = "logits") -> list[list[float]]:
    """By a loop: how sure the mixture of the first experts is about each photo, after each of them."""
    table = []
    for logits, gate in zip(output.joint_logits.double().numpy(), output.gate_probs.double().numpy(), strict=True):
        row = []
        for count in range(1, len(gate) + 1):
            weights = gate[:count] / gate[:count].sum()
            mixed = reference.mix_experts(logits[None, :count], weights[None], mix=mix)
            row.append(reference.top2_margin(mixed[0]))
        table.append(row)
    return table


def parting(output: MixtureOutput, *, mix: str = "logits") -> list[float]:
    """Thresholds at which some photos leave after each expert and some go on: halfway through those still there."""
    table, thresholds = margins(output, mix=mix), []
    for number in range(output.gate_probs.shape[1] - 1):
        column = sorted(row[number] for row in table)
        thresholds.append((column[len(column) // 2 - 1] + column[len(column) // 2]) / 2)
        table = [row for row in table if row[number] < thresholds[-1]]
    return thresholds


@contextmanager
def counting(modules: dict[str, nn.Module]) -> Iterator[dict[str, list[int]]]:
    """The batch sizes that each module is called with."""
    sizes: dict[str, list[int]] = {name: [] for name in modules}

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _module, given, _result: sizes[name].append(len(given[0]))

    hooks = [module.register_forward_hook(noting(name)) for name, module in modules.items()]
    yield sizes
    for hook in hooks:
        hook.remove()


def parts_of(net: MixtureOfExperts) -> dict[str, nn.Module]:
    assert net.gate is not None
    parts: dict[str, nn.Module] = {f"expert {number}": expert for number, expert in enumerate(net.experts)}
    return parts | {"gate": net.gate} | ({"its backbone": net.gate.backbone} if net.gate.backbone else {})


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("mix", ["logits", "probs"])
@pytest.mark.parametrize("num_experts", [1, 2, 3])
def test_where_nobody_is_ever_sure_it_is_the_mixture_to_the_bit(num_experts: int, mix: str, gate: str) -> None:
    net = build(num_experts=num_experts, gate=gate, mix=mix)
    found = run_cascade(net, draw(), thresholds=[NO_EXIT] * (num_experts - 1))
    for name, one, other in zip(MixtureOutput._fields, found.mixture, whole(net, draw()), strict=True):
        assert torch.equal(one, other), name
        assert one.dtype == other.dtype
    assert found.num_experts_run.tolist() == [num_experts] * 3


@pytest.mark.parametrize("gate", GATES)
def test_where_everybody_is_sure_at_once_only_expert_0_runs(gate: str) -> None:
    net = build(num_experts=3, gate=gate)
    with counting(parts_of(net)) as sizes:
        found = run_cascade(net, draw(4), thresholds=[0.0, 0.0])
    assert {name: calls for name, calls in sizes.items() if calls} == {"expert 0": [4]}
    assert found.num_experts_run.tolist() == [1] * 4
    assert torch.equal(found.mixture.logits, whole(net, draw(4)).joint_logits[:, 0])
    assert found.mixture.gate_probs.tolist() == [[1.0, 0.0, 0.0]] * 4


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_each_expert_and_the_gate_see_only_the_photos_that_still_need_them(mix: str, gate: str) -> None:
    net, pictures = build(num_experts=3, gate=gate, mix=mix), draw(8)
    expected = whole(net, pictures)
    thresholds = parting(expected, mix=mix)
    with counting(parts_of(net)) as sizes:
        found = run_cascade(net, pictures, thresholds=thresholds)
    table = margins(expected, mix=mix)
    stops = [next((k for k in (0, 1) if row[k] >= thresholds[k]), 2) + 1 for row in table]
    assert found.num_experts_run.tolist() == stops
    assert sorted(stops) == [1, 1, 1, 1, 2, 2, 3, 3]
    assert {name: sum(calls) for name, calls in sizes.items()} == {
        "expert 0": 8, "expert 1": 4, "expert 2": 2, "gate": 4, **({"its backbone": 4} if gate == "own" else {})
    }  # fmt: skip
    assert found.num_experts_run.sum() == sum(sum(sizes[f"expert {number}"]) for number in range(3))


@pytest.mark.parametrize("gate", GATES)
def test_an_answer_is_the_mixture_of_those_who_looked_and_the_rest_is_nan(gate: str) -> None:
    net, pictures = build(num_experts=3, gate=gate), draw(8)
    expected = whole(net, pictures)
    found = run_cascade(net, pictures, thresholds=parting(expected))
    for row, count in enumerate(found.num_experts_run.tolist()):
        weights = expected.gate_probs[row, :count].double() / expected.gate_probs[row, :count].double().sum()
        mixed = (weights[:, None] * expected.joint_logits[row, :count].double()).sum(0)
        np.testing.assert_allclose(found.mixture.logits[row], mixed, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.mixture.gate_probs[row, :count], weights, rtol=1e-4)
        assert found.mixture.gate_probs[row, count:].tolist() == [0.0] * (3 - count)
        for name in ("large_logits", "part_logits", "joint_logits", "attention", "boxes_xyxy"):
            one, other = getattr(found.mixture, name)[row], getattr(expected, name)[row]
            torch.testing.assert_close(one[:count], other[:count], rtol=1e-3, atol=1e-3)
            assert bool(one[count:].isnan().all())


def test_a_photo_has_the_same_answer_whoever_comes_with_it() -> None:
    """But for the last digits: a convolution may add up in another order for a batch of another size."""
    net, pictures = build(num_experts=3), draw(8)
    thresholds = parting(whole(net, pictures))
    together = run_cascade(net, pictures, thresholds=thresholds)
    turned = run_cascade(net, pictures.flip(0), thresholds=thresholds)
    for row in range(8):
        alone = run_cascade(net, pictures[row : row + 1], thresholds=thresholds)
        for other, at in ((together, row), (turned, 7 - row)):
            assert alone.num_experts_run[0] == other.num_experts_run[at]
            for one, another in zip(alone.mixture, other.mixture, strict=True):
                torch.testing.assert_close(one[0], another[at], rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_gate_that_gives_an_expert_nothing_leaves_its_answer_to_itself() -> None:
    net = build(num_experts=3)
    assert net.gate is not None
    with torch.no_grad():
        cast(nn.Linear, net.gate.layers[1]).bias.copy_(torch.tensor([-1000.0, -1000.0, 0.0]))
    expected = whole(net, draw())
    assert expected.gate_probs[:, :2].tolist() == [[0.0, 0.0]] * 3
    first = run_cascade(net, draw(), thresholds=[0.0, 0.0]).mixture.logits
    both = run_cascade(net, draw(), thresholds=[NO_EXIT, 0.0]).mixture.logits
    torch.testing.assert_close(first, expected.joint_logits[:, 0])
    torch.testing.assert_close(both, expected.joint_logits[:, :2].mean(1))


def test_a_network_that_is_broken_says_so_instead_of_being_sure() -> None:
    net = build(num_experts=2)
    with torch.no_grad():
        expert_of(net, 0).large_head.weight.fill_(torch.nan)
        expert_of(net, 0).joint_head.large.weight.fill_(torch.nan)
    found = run_cascade(net, draw(), thresholds=[0.0])
    assert found.num_experts_run.tolist() == [2] * 3
    assert bool(found.mixture.logits.isnan().all())


def test_bytes_are_normalized_as_in_the_mixture_and_nothing_is_changed() -> None:
    net = build(num_experts=2)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    given, state = images.clone(), {name: value.clone() for name, value in net.state_dict().items()}
    found = run_cascade(net, images, thresholds=[NO_EXIT])
    assert torch.equal(found.mixture.logits, whole(net, images).logits)
    assert torch.equal(images, given)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not found.mixture.logits.requires_grad


def test_thresholds_survive_json() -> None:
    net, pictures = build(num_experts=3), draw(8)
    thresholds = parting(whole(net, pictures))
    first, second = (
        run_cascade(net, pictures, thresholds=given) for given in (thresholds, json.loads(json.dumps(thresholds)))
    )
    assert torch.equal(first.num_experts_run, second.num_experts_run)


@pytest.mark.parametrize("thresholds", [[], [0.5], [0.5] * 3])
def test_there_is_one_threshold_for_each_expert_but_the_last(thresholds: list[float]) -> None:
    with pytest.raises(ConfigError, match=f"there are {len(thresholds)} thresholds for 3 experts; give one for each"):
        run_cascade(build(num_experts=3), draw(), thresholds=thresholds)


def test_the_outputs_shapes_are_the_mixtures() -> None:
    found = run_cascade(build(num_experts=3), draw(), thresholds=[0.0, 0.0])
    assert isinstance(found, CascadeOutput)
    assert found.mixture.logits.shape == (3, CLASSES)
    assert found.mixture.attention.shape == (3, 3, 2, 2)
    assert found.mixture.boxes_xyxy.shape == (3, 3, 4)
