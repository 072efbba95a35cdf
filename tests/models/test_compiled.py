"""The whole mixture as one graph, exported and compiled; without jaxtyping's import hook, which dynamo cannot trace."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mge.core.outputs import MixtureOutput
from mge.models.mixture import MixtureOfExperts
from tests.models.networks import BACKBONES, SIZE, SWIN, build, draw

pytestmark = pytest.mark.compiled
LABELS = torch.tensor([0, 3, 4])
OPTIONS: list[Any] = [
    pytest.param({"gate": "own"}, id="gate-own"),
    pytest.param(
        {"zoom_from": "previous", "geometry": "authors", "attention": "first", "mix": "probs"},
        id="authors",
        marks=pytest.mark.slow,
    ),
    pytest.param({"size": None, "zoom_resolution": 2.0}, id="zoom_resolution"),
    pytest.param({"num_experts": 1, "part_filters": 0}, id="plain"),
]


def assert_same(output: MixtureOutput, expected: MixtureOutput) -> None:
    assert isinstance(output, MixtureOutput)
    for name, found, wanted in zip(MixtureOutput._fields, output, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3, msg=name)


def eager(net: MixtureOfExperts, *given: Tensor) -> MixtureOutput:
    with torch.no_grad():
        output: MixtureOutput = net(*given)
    return output


def pictures_for(options: dict[str, Any], *, count: int = 3) -> Tensor:
    side = 2 * SIZE if "zoom_resolution" in options else SIZE
    return draw(count, height=side, width=side)


@pytest.mark.parametrize("options", OPTIONS)
def test_an_exported_mixture_gives_the_answers_of_the_eager_one(options: dict[str, Any]) -> None:
    net, pictures = build(**{"num_experts": 2, **options}), pictures_for(options)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(net, (pictures,), dynamic_shapes={"images": {0: batch}}).module()
    assert_same(exported(pictures), eager(net, pictures))
    for count in (1, 5):
        assert_same(exported(pictures_for(options, count=count)), eager(net, pictures_for(options, count=count)))


@pytest.mark.parametrize(
    "backbone", ["test_vit", *(pytest.param(name, marks=pytest.mark.slow) for name in (*BACKBONES[1:3], SWIN))]
)
def test_every_kind_of_backbone_exports(backbone: str) -> None:
    net = build(backbone, num_experts=2)
    assert_same(torch.export.export(net, (draw(),)).module()(draw()), eager(net, draw()))


def test_bytes_and_labels_export_too() -> None:
    net, images = build(num_experts=2), torch.randint(256, (3, 3, SIZE, SIZE), dtype=torch.uint8)
    exported = torch.export.export(net, (images, LABELS)).module()
    assert_same(exported(images, LABELS), eager(net, images, LABELS))
    assert_same(exported(images, LABELS.flip(0)), eager(net, images, LABELS.flip(0)))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_mixture_compiles_without_a_graph_break(options: dict[str, Any]) -> None:
    torch.compiler.reset()
    net, pictures = build(**{"num_experts": 2, **options}), pictures_for(options)
    with torch.no_grad():
        assert_same(torch.compile(net, fullgraph=True, backend="eager")(pictures), eager(net, pictures))


@pytest.mark.slow
def test_a_compiled_mixture_learns_as_the_eager_one() -> None:
    torch.compiler.reset()
    net = build(num_experts=2).train()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    found = []
    for model in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        net.load_state_dict(state)
        net.zero_grad(set_to_none=True)
        output = model(draw(), LABELS)
        heads = (output.large_logits, output.part_logits, output.joint_logits, output.logits)
        torch.stack([logits.square().mean() for logits in heads]).sum().backward()
        found.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        scale = max(float(gradient.abs().max()), 1e-3)
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)
