"""The mixture: where experts look, what they see, what comes out, and what a call leaves alone."""

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from mge.config import NORMALIZATIONS, Attention, Channels, Mix, ModelConfig
from mge.core.crop import Geometry, compose_boxes, zoom
from mge.core.outputs import MixtureOutput
from mge.errors import ConfigError
from mge.models.heads import ClasswiseLinear
from mge.models.mixture import MixtureOfExperts, choose_part_filters, create_model
from tests import reference
from tests.models.networks import BACKBONES, CLASSES, SIZE, SWIN, build, draw, expert_of, run_all_experts

LABELS = torch.tensor([0, 3, 4])
ALL = [*BACKBONES, pytest.param(SWIN, marks=pytest.mark.slow)]
WHOLE = [0.0, 0.0, float(SIZE), float(SIZE)]


def run(net: MixtureOfExperts, images: Tensor, labels: Tensor | None = None) -> MixtureOutput:
    with torch.no_grad():
        output: MixtureOutput = net(images, labels)
    return output


def scaled(maps: reference.Array) -> reference.Array:
    return np.stack([reference.scale_to_unit(cells) for cells in maps])


def assert_close(output: MixtureOutput, expected: MixtureOutput, *, rtol: float = 1e-4, atol: float = 1e-4) -> None:
    for name, found, wanted in zip(MixtureOutput._fields, output, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol, msg=name)


# -------- output
@pytest.mark.parametrize("gate", ["own", "shared"])
@pytest.mark.parametrize("num_experts", [1, 2, 4])
def test_every_expert_has_its_row_in_the_output(num_experts: int, gate: str) -> None:
    output = run(build(num_experts=num_experts, gate=gate), draw())
    assert output.logits.shape == (3, CLASSES)
    assert output.gate_probs.shape == (3, num_experts)
    for logits in (output.large_logits, output.part_logits, output.joint_logits):
        assert logits.shape == (3, num_experts, CLASSES)
    assert output.attention.shape == (3, num_experts, 2, 2)
    assert output.boxes_xyxy.shape == (3, num_experts, 4)
    assert all(tensor.dtype == torch.float32 for tensor in output)
    assert all(bool(tensor.isfinite().all()) for tensor in output)


@pytest.mark.parametrize("backbone", ALL)
def test_what_holds_for_every_output(backbone: str) -> None:
    output = run(build(backbone, num_experts=3), draw())
    torch.testing.assert_close(output.gate_probs.sum(1), torch.ones(3))
    assert bool((output.gate_probs > 0).all())
    assert float(output.attention.min()) == 0
    assert float(output.attention.max()) == 1
    assert output.boxes_xyxy[:, 0].tolist() == [WHOLE] * 3
    previous, later = output.boxes_xyxy[:, :-1], output.boxes_xyxy[:, 1:]
    assert bool((later[..., :2] >= previous[..., :2] - 1e-4).all())
    assert bool((later[..., 2:] <= previous[..., 2:] + 1e-4).all())
    assert bool((later[..., 2:] > later[..., :2]).all())


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_answer_is_the_mixture_of_the_joint_logits(mix: Mix) -> None:
    output = run(build(num_experts=3, mix=mix), draw())
    expected = reference.mix_experts(output.joint_logits.double().numpy(), output.gate_probs.double().numpy(), mix=mix)
    np.testing.assert_allclose(output.logits, expected, rtol=1e-4, atol=1e-4)


def test_a_single_expert_is_its_own_mixture() -> None:
    net = build(num_experts=1)
    output = run(net, draw())
    assert net.gate is None
    assert output.gate_probs.tolist() == [[1.0]] * 3
    torch.testing.assert_close(output.logits, output.joint_logits[:, 0])


@pytest.mark.parametrize(
    ("num_classes", "expected"), [(2, 10), (42, 10), (60, 7), (81, 5), (100, 4), (200, 4), (555, 4), (10_000, 4)]
)
def test_many_classes_have_fewer_part_filters_each(num_classes: int, expected: int) -> None:
    assert choose_part_filters(num_classes) == expected


@pytest.mark.parametrize(("given", "expected"), [({}, 4), ({"part_filters": 10}, 10)])
def test_part_filters_are_chosen_where_nobody_says_how_many(given: dict[str, Any], expected: int) -> None:
    options = {"num_classes": 100, "experts": 1, "pretrained": False, **given}
    net = create_model("test_resnet", size=64, **options)
    assert net.config.part_filters == expected
    assert expert_of(net, 0).part_filters.filters.out_channels == 100 * expected  # type: ignore[union-attr]


def test_without_part_filters_it_is_a_plain_network() -> None:
    net = build(num_experts=1, part_filters=0)
    output = run(net, draw())
    features = expert_of(net, 0).backbone(draw()).large.mean((2, 3))
    torch.testing.assert_close(output.logits, expert_of(net, 0).large_head(features))
    assert torch.equal(output.large_logits, output.joint_logits)


def test_experts_differ_in_their_weights() -> None:
    net = build(num_experts=3, zoom_from="photo", attention_threshold=0.0)  # a threshold of 0 keeps the whole view
    output = run(net, draw())
    assert output.boxes_xyxy.flatten(0, 1).tolist() == [WHOLE] * 9
    assert not torch.allclose(output.joint_logits[:, 0], output.joint_logits[:, 1], atol=1e-2)


# -------------- attention
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("backbone", [name for name in ALL if name != "test_vit"])  # no gradient reaches its cells
def test_the_attention_of_a_whole_network_equals_an_autograd_grad_cam(backbone: str, positive: bool) -> None:
    net = build(backbone, num_experts=2, positive_weights=positive)
    for number, expert_pass in enumerate(run_all_experts(net, draw(), LABELS)):
        maps = reference.grad_cam_of_network(net.experts[number], expert_pass.view, LABELS.tolist(), positive=positive)
        assert maps.max() > 0
        np.testing.assert_allclose(
            expert_pass.attention.numpy(), scaled(maps), atol=1e-4
        )  # rounding of a whole network


@pytest.mark.parametrize("geometry", ["pixels", "authors"])
def test_an_expert_finds_the_box_around_its_attention(geometry: Geometry) -> None:
    net = build(num_experts=2, output_stride=8, geometry=geometry)
    for expert_pass in run_all_experts(net, draw(), LABELS):
        expected = [
            reference.attention_box(cells, size=(SIZE, SIZE), threshold=0.6, aligned=geometry == "authors")
            for cells in expert_pass.attention.double().numpy()
        ]
        assert expert_pass.next_boxes_xyxy.tolist() == expected
        assert expected != [WHOLE] * 3


def test_labels_say_whose_attention_is_followed() -> None:
    net = build(num_experts=2, output_stride=8)
    outputs = [run(net, draw(), torch.full((3,), label)) for label in range(CLASSES)]
    for label in range(1, CLASSES):
        assert not torch.allclose(outputs[label].attention[:, 0], outputs[0].attention[:, 0], atol=0.05)
        assert torch.equal(outputs[label].joint_logits[:, 0], outputs[0].joint_logits[:, 0])
    assert any(not torch.equal(output.boxes_xyxy, outputs[0].boxes_xyxy) for output in outputs[1:])


def test_each_photo_follows_its_own_label() -> None:
    net = build(num_experts=2, output_stride=8)
    mixed = run(net, draw(), LABELS)
    for photo, label in enumerate(LABELS.tolist()):
        alone = run(net, draw()[[photo]], torch.tensor([label]))
        torch.testing.assert_close(alone.attention[0], mixed.attention[photo], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone.boxes_xyxy[0], mixed.boxes_xyxy[photo])


def test_without_labels_each_expert_follows_what_it_predicts() -> None:
    net = build(num_experts=2, output_stride=8)
    for number, expert_pass in enumerate(run_all_experts(net, draw())):
        predicted = expert_pass.output.joint_logits.argmax(1).tolist()
        maps = reference.grad_cam(expert_pass.output.features, expert_of(net, number).large_head, predicted)
        np.testing.assert_allclose(expert_pass.attention.numpy(), scaled(maps), atol=1e-5)


@pytest.mark.parametrize("positive", [False, True])
def test_softmax_weighted_attention_is_the_mean_of_all_classes_maps_by_how_probable_they_are(positive: bool) -> None:
    net = build(num_experts=2, output_stride=8, cam_target="softmax", positive_weights=positive)
    for number, expert_pass in enumerate(run_all_experts(net, draw())):
        probs = expert_pass.output.joint_logits.softmax(1).numpy()
        gradients = expert_of(net, number).large_head.weight.detach().numpy()
        features = expert_pass.output.features.numpy()
        for photo in range(len(features)):
            maps = sum(
                prob * np.einsum("k,khw->hw", row.clip(0) if positive else row, features[photo])
                for prob, row in zip(probs[photo], gradients, strict=True)
            )
            expected = reference.scale_to_unit(np.maximum(maps, 0))
            np.testing.assert_allclose(expert_pass.attention[photo].numpy(), expected, atol=1e-4)


def test_with_labels_attention_is_to_their_class_whatever_is_believed() -> None:
    of_class, of_all = (
        run_all_experts(build(num_experts=2, cam_target=kind), draw(), LABELS) for kind in ("class", "softmax")
    )
    for one, other in zip(of_class, of_all, strict=True):
        assert torch.equal(one.attention, other.attention)


def test_an_expert_finds_the_box_of_its_attentions_spread() -> None:
    net = build(num_experts=2, output_stride=8, box_method="moments")
    for expert_pass in run_all_experts(net, draw()):
        expected = [
            reference.spread_box(cells, size=(SIZE, SIZE), threshold=0.6)
            for cells in expert_pass.attention.double().numpy()
        ]
        np.testing.assert_allclose(expert_pass.next_boxes_xyxy.numpy(), expected, atol=1e-2)


def test_a_spread_box_and_the_authors_geometry_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="box_method is moments and geometry is authors"):
        build(num_experts=2, box_method="moments", geometry="authors")


@pytest.mark.parametrize("labels", [LABELS, None])
def test_attention_first_weighs_every_map_with_the_first_experts_classifier(labels: Tensor | None) -> None:
    net = build(num_experts=3, attention="first", output_stride=8)
    head = expert_of(net, 0).large_head
    for expert_pass in run_all_experts(net, draw(), labels):
        followed = head(expert_pass.output.large_features).argmax(1) if labels is None else labels
        maps = reference.grad_cam(expert_pass.output.features, head, followed.tolist())
        np.testing.assert_allclose(expert_pass.attention.numpy(), scaled(maps), atol=1e-5)


def test_attention_first_and_own_differ_from_the_second_expert_on() -> None:
    kinds: list[Attention] = ["own", "first"]
    own, first = (run(build(num_experts=2, attention=kind), draw(), LABELS).attention for kind in kinds)
    assert torch.equal(own[:, 0], first[:, 0])
    assert not torch.allclose(own[:, 1], first[:, 1], atol=0.05)


#  views
@pytest.mark.parametrize("geometry", ["pixels", "authors"])
@pytest.mark.parametrize("zoom_from", ["photo", "previous"])
def test_each_expert_sees_what_the_former_one_found(zoom_from: str, geometry: Geometry) -> None:
    net, pictures = build(num_experts=3, output_stride=8, zoom_from=zoom_from, geometry=geometry), draw()
    passes = run_all_experts(net, pictures, LABELS)
    assert torch.equal(passes[0].view, pictures)
    for previous, expert_pass in itertools.pairwise(passes):
        composed = compose_boxes(previous.boxes_xyxy, previous.next_boxes_xyxy, size=(SIZE, SIZE))
        torch.testing.assert_close(expert_pass.boxes_xyxy, composed)
        source, boxes = (pictures, composed) if zoom_from == "photo" else (previous.view, previous.next_boxes_xyxy)
        for photo in range(3):
            expected = reference.zoom(
                source[photo].double().numpy(), boxes[photo].tolist(), size=(SIZE, SIZE), aligned=geometry == "authors"
            )
            np.testing.assert_allclose(expert_pass.view[photo].numpy(), expected, atol=2e-3)


def test_zooming_out_of_the_photo_is_sharper_than_out_of_the_former_view() -> None:
    views = {
        source: run_all_experts(build(num_experts=3, output_stride=8, zoom_from=source), draw(), LABELS)[2].view
        for source in ("photo", "previous")
    }
    assert float(views["photo"].var()) > 1.05 * float(views["previous"].var())


@pytest.mark.parametrize("size", [SIZE, None])
def test_detail_reduces_the_photo_for_the_first_view_and_keeps_it_for_the_zoom(size: int | None) -> None:
    net, pictures = build(num_experts=2, output_stride=8, size=size, zoom_resolution=2.0), draw(height=128, width=128)
    first, second = run_all_experts(net, pictures, LABELS)
    torch.testing.assert_close(first.view, functional.avg_pool2d(pictures, 2), rtol=0, atol=1e-3)
    assert first.boxes_xyxy.tolist() == [[0, 0, 128, 128]] * 3
    torch.testing.assert_close(second.boxes_xyxy, 2 * first.next_boxes_xyxy)
    assert second.view.shape[2:] == (SIZE, SIZE)
    expected = zoom(pictures, second.boxes_xyxy, size=(SIZE, SIZE), supersample=2)
    torch.testing.assert_close(second.view, expected)
    enlarged = zoom(first.view, first.next_boxes_xyxy, size=(SIZE, SIZE))
    assert float(second.view.var()) > 1.1 * float(enlarged.var())


def test_detail_that_is_no_whole_number_is_taken() -> None:
    net = build(num_experts=2, size=None, zoom_resolution=1.5)
    first, second = run_all_experts(net, draw(height=96, width=144), LABELS)
    assert first.view.shape[2:] == second.view.shape[2:] == (64, 96)


def test_without_a_size_pictures_of_any_size_and_shape_are_taken() -> None:
    net = build(num_experts=2, size=None)
    for height, width in ((64, 64), (96, 160), (130, 70)):
        output = run(net, draw(height=height, width=width), LABELS)
        assert output.boxes_xyxy[:, 0].tolist() == [[0, 0, width, height]] * 3
        assert output.attention.shape[2:] == (-(-height // 32), -(-width // 32))
        assert bool((output.boxes_xyxy[:, 1, 2:] <= torch.tensor([width, height])).all())


def test_with_a_size_pictures_of_any_size_become_views_of_that_size_and_boxes_stay_in_their_pixels() -> None:
    net, pictures = build(num_experts=2, output_stride=8), draw(height=100, width=200)
    first, second = run_all_experts(net, pictures, LABELS)
    assert first.view.shape[2:] == second.view.shape[2:] == (SIZE, SIZE)
    assert first.boxes_xyxy.tolist() == [[0, 0, 200, 100]] * 3
    scale = torch.tensor([200, 100, 200, 100]) / SIZE
    torch.testing.assert_close(second.boxes_xyxy, first.next_boxes_xyxy * scale)


# ------------------------------------------------ input
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("normalization", "mean", "std"),
    [("imagenet", *NORMALIZATIONS["imagenet"]), ("half", *NORMALIZATIONS["half"]), ("0.1,.2,0.3/0.4,0.5,6e-1", *OWN)],
)
def test_bytes_are_normalized_and_float_pictures_are_not(normalization: str, mean: Channels, std: Channels) -> None:
    net = build(num_experts=2, normalization=normalization)
    images = torch.randint(256, (3, 3, SIZE, SIZE), dtype=torch.uint8)
    pictures = torch.stack([(images[:, k] / 255 - mean[k]) / std[k] for k in range(3)], dim=1)
    torch.testing.assert_close(net.normalize(images), pictures)
    assert net.normalize(pictures) is pictures
    assert_close(run(net, images, LABELS), run(net, pictures, LABELS), atol=1e-3)


def test_neither_order_nor_neighbors_in_the_batch_change_an_answer() -> None:
    net, pictures = build(num_experts=3, output_stride=8), draw()
    output, order = run(net, pictures), torch.tensor([2, 0, 1])
    assert_close(run(net, pictures[order]), MixtureOutput(*(tensor[order] for tensor in output)), atol=1e-3)
    for photo in range(3):
        alone = MixtureOutput(*(tensor[[photo]] for tensor in output))
        assert_close(run(net, pictures[[photo]]), alone, atol=1e-3)


def test_the_progressive_schedule_starts_with_a_part_of_the_experts() -> None:
    net = build(num_experts=3)
    whole = run(net, draw(), LABELS)
    for active in (1, 2):
        net.active_experts = active
        output = run(net, draw(), LABELS)
        assert torch.equal(output.joint_logits, whole.joint_logits[:, :active])
        torch.testing.assert_close(output.gate_probs.sum(1), torch.ones(3))
        shares = whole.gate_probs[:, :active]
        torch.testing.assert_close(output.gate_probs, shares / shares.sum(1, keepdim=True))


def test_experts_and_gate_that_were_wrapped_take_the_place_of_the_mixtures_own() -> None:
    class Wrapped(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, *given: Tensor) -> Any:  # noqa: ANN401
            self.calls += 1
            return self.module(*given)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return super().__getattr__(name) if name == "module" else getattr(self.module, name)

    net = build(num_experts=2)
    assert net.gate is not None
    experts, gate = [Wrapped(expert) for expert in net.experts], Wrapped(net.gate)
    expected = run(net, draw(), LABELS)
    with torch.no_grad():
        passes = list(net.run_experts(draw(), LABELS, experts=experts))
        gate_probs = net.weigh(passes[0].view, passes[0].output.large_features, gate=gate)
    assert [wrapped.calls for wrapped in (*experts, gate)] == [1, 1, 1]
    torch.testing.assert_close(gate_probs, expected.gate_probs)
    torch.testing.assert_close(passes[1].output.joint_logits, expected.joint_logits[:, 1])


#  what is left alone
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("gate", ["own", "shared"])
def test_forward_leaves_gradients_modes_hooks_and_random_numbers_alone(gate: str, is_training: bool) -> None:
    net, pictures = build(num_experts=2, gate=gate), draw()
    net.train(is_training)
    net.experts[1].train(not is_training)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    gradients = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    modes = [module.training for module in net.modules()]
    needs = [parameter.requires_grad for parameter in net.parameters()]
    weights = [parameter.detach().clone() for parameter in net.parameters()]
    given, random_state = pictures.clone(), torch.get_rng_state()
    net(pictures, LABELS)
    assert torch.is_grad_enabled()
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == needs
    assert all(torch.equal(p.detach(), weight) for p, weight in zip(net.parameters(), weights, strict=True))
    after = [parameter.grad for parameter in net.parameters()]
    assert all(grad is not None and torch.equal(grad, was) for grad, was in zip(after, gradients, strict=True))
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())
    assert torch.equal(pictures, given)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_evaluation_changes_no_buffer() -> None:
    net = build(num_experts=2, gate="own")
    before = copy.deepcopy(net.state_dict())
    run(net, draw())
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_inference_mode_gives_the_same_answer() -> None:
    net = build(num_experts=2, gate="own")
    expected = net(draw())
    assert expected.logits.requires_grad
    with torch.inference_mode():
        output = net(draw())
    assert output.logits.is_inference()
    assert_close(output, MixtureOutput(*(tensor.detach() for tensor in expected)))


@pytest.mark.parametrize("backbone", ALL)
def test_bfloat16_autocast_leaves_boxes_views_and_attention_in_float32(backbone: str) -> None:
    net = build(backbone, num_experts=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        passes = run_all_experts(net, draw(), LABELS)
        output = run(net, draw(), LABELS)
    assert passes[0].output.large_logits.dtype == torch.bfloat16  # autocast is at work
    for expert_pass in passes:
        assert expert_pass.view.dtype == expert_pass.attention.dtype == torch.float32
        assert expert_pass.boxes_xyxy.dtype == expert_pass.next_boxes_xyxy.dtype == torch.float32
    for name in ("logits", "gate_probs", "attention", "boxes_xyxy"):
        assert getattr(output, name).dtype == torch.float32
    assert all(bool(tensor.isfinite().all()) for tensor in output)
    torch.testing.assert_close(output.gate_probs.sum(1), torch.ones(3))
    torch.testing.assert_close(output.attention[:, 0], run(net, draw(), LABELS).attention[:, 0], rtol=0, atol=0.1)


@pytest.mark.parametrize("backbone", ALL)
def test_the_memory_layout_of_pictures_does_not_matter(backbone: str) -> None:
    net = build(backbone, num_experts=2)
    expected = run(net, draw(), LABELS)
    output = run(net.to(memory_format=torch.channels_last), draw().to(memory_format=torch.channels_last), LABELS)
    assert_close(output, expected, atol=1e-3)


# ---------------------------------------------------- save and load
@pytest.mark.parametrize("gate", ["own", "shared"])
def test_a_stored_network_answers_as_before(tmp_path: Path, gate: str) -> None:
    net = build(num_experts=2, gate=gate, normalization="half", zoom_from="previous", mix="probs", attention="first")
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    config = ModelConfig.from_dict(net.config.to_dict())
    torch.manual_seed(99)
    again = MixtureOfExperts(config, num_classes=CLASSES, pretrained=False)
    assert again.config == net.config
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    for expected, found in zip(run(net, draw()), run(again.eval(), draw()), strict=True):
        assert torch.equal(found, expected)


def test_every_option_of_a_configuration_reaches_the_network() -> None:
    config = ModelConfig(
        backbone="test_resnet", experts=2, size=96, zoom_resolution=1.5, output_stride=16, zoom_from="previous",
        geometry="authors", attention="first", cam_target="class", positive_weights=True, box_method="threshold",
        attention_threshold=0.45, part_filters=3, part_padding=1, part_head="classwise", part_gradient=False,
        gate="own", mix="probs", normalization="half",
    )  # fmt: skip
    net = MixtureOfExperts(config, num_classes=CLASSES, pretrained=False)
    assert net.config == config
    first = expert_of(net, 0)
    assert first.backbone.stride == 16
    assert first.part_filters is not None
    assert first.part_filters.filters.padding == (1, 1)
    assert first.part_filters.filters.out_channels == 3 * CLASSES
    assert isinstance(first.part_head, ClasswiseLinear)
    assert first.part_gradient is False
    assert net.gate is not None
    assert net.gate.backbone is not None
    assert net.mean.flatten().tolist() == net.std.flatten().tolist() == [0.5] * 3


def test_automatic_values_are_resolved_in_the_networks_configuration_alone() -> None:
    config = ModelConfig(backbone="test_resnet", size=64)
    net = MixtureOfExperts(config, num_classes=60, pretrained=False)
    assert net.config == dataclasses.replace(config, part_filters=7, part_head="dense", normalization="half")
    assert config == ModelConfig(backbone="test_resnet", size=64)
    assert MixtureOfExperts(net.config, num_classes=60, pretrained=False).config == net.config


def test_views_have_the_configured_size_unless_any_is_taken() -> None:
    assert run_all_experts(create_model("test_resnet", num_classes=3, pretrained=False, size=64), draw(1, height=96))[
        0
    ].view.shape[2:] == (64, 64)
    net = create_model("test_resnet", num_classes=3, pretrained=False)
    assert run_all_experts(net, draw(1, height=96))[0].view.shape[2:] == (96, 64)
    again = MixtureOfExperts(net.config, num_classes=3, pretrained=False, any_size=True)
    assert run_all_experts(again, draw(1, height=96))[0].view.shape[2:] == (96, 64)


@pytest.mark.parametrize(
    "options", [{}, {"num_experts": 2, "size": 64, "gate": "own"}, {"experts": 1, "zoom_resolution": 1.5}]
)
def test_the_previous_signature_builds_the_same_network_with_a_warning(options: dict[str, Any]) -> None:
    named = {"experts" if name == "num_experts" else name: value for name, value in options.items()}
    torch.manual_seed(3)
    wanted = create_model("test_resnet", num_classes=3, pretrained=False, **named)
    torch.manual_seed(3)
    with pytest.warns(
        DeprecationWarning, match=r"use mge\.create_model\(BACKBONE, …\), where num_experts is"
    ) as caught:
        found = MixtureOfExperts("test_resnet", num_classes=3, pretrained=False, **options)
    assert len(caught) == 1
    assert (found.config, found.view_size) == (wanted.config, wanted.view_size)
    assert all(map(torch.equal, found.state_dict().values(), wanted.state_dict().values()))


def test_options_beside_a_configuration_are_refused() -> None:
    with pytest.raises(TypeError, match="no argument experts; options of the network belong in ModelConfig"):
        MixtureOfExperts(ModelConfig(), num_classes=3, experts=2)
    with pytest.raises(ConfigError, match="unknown option 'num_experts'; did you mean 'experts'"):
        create_model("test_resnet", num_classes=3, num_experts=2)


@pytest.mark.parametrize(
    ("backbone", "expected"), [("test_resnet", "half"), ("resnet10t", "imagenet"), ("test_vit", "half")]
)
def test_pictures_are_normalized_as_the_pretrained_weights_want_it(backbone: str, expected: str) -> None:
    net = create_model(backbone, num_classes=3, experts=1, pretrained=False, size=160)
    assert net.config.normalization == expected
    pretrained_cfg = cast(Any, timm.create_model(backbone)).pretrained_cfg
    assert (tuple(net.mean.flatten().tolist())) == pytest.approx(pretrained_cfg["mean"])


@pytest.mark.parametrize("text", ["0.5,0.5/1,1,1", "1,2,3", "0,0,0/1,1,0", "0,0,0/1,1,nan", "a,b,c/1,1,1", ""])
def test_a_normalization_that_is_no_six_numbers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"normalization is .*; accepted: auto, imagenet, half, or six numbers"):
        ModelConfig(normalization=text)


def test_the_mean_and_deviation_of_pictures_are_not_weights() -> None:
    assert not {"mean", "std"} & set(build(num_experts=1).state_dict())


@pytest.mark.parametrize(("num_classes", "kind"), [(500, nn.Linear), (501, ClasswiseLinear)])
def test_the_part_head_is_dense_up_to_500_classes(num_classes: int, kind: type[nn.Module]) -> None:
    net = build(num_experts=1, num_classes=num_classes, part_filters=1)
    assert isinstance(expert_of(net, 0).part_head, kind)
    assert isinstance(expert_of(net, 0).joint_head.part, kind)


@pytest.mark.parametrize("part_head", ["dense", "classwise"])
def test_the_kind_of_part_head_can_be_chosen(part_head: Literal["dense", "classwise"]) -> None:
    expert = expert_of(build(num_experts=1, part_head=part_head), 0)
    assert isinstance(expert.part_head, nn.Linear if part_head == "dense" else ClasswiseLinear)


#  errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; accepted: at least 2"),
        ({"num_experts": 0}, "experts is 0; accepted: at least 1"),
        (
            {"num_experts": 2, "part_filters": 0},
            "part_filters is 0 and experts is 2: .* use experts=1, or part_filters",
        ),
        ({"zoom_resolution": 0.5}, "zoom_resolution is 0.5; accepted: at least 1 and at most 16"),
        ({"attention_threshold": 1.5}, "attention_threshold is 1.5; accepted: at least 0 and at most 1"),
        ({"output_stride": 5}, "output_stride is 5; accepted: 0, 8, 16, 32"),
        ({"size": 40}, "size is 40 px, too small for test_resnet with a stride of 32 px; use at least 64"),
        ({"size": 0}, "size is 0"),
        ({"size": -64}, "size is -64; accepted: at least 16"),
        ({"gate": "maybe"}, "gate is 'maybe'; accepted: own, shared"),
        ({"zoom_from": "window"}, "zoom_from is 'window'; accepted: photo, previous"),
        ({"mix": "votes"}, "mix is 'votes'; accepted: logits, probs"),
        ({"attention": "last"}, "attention is 'last'; accepted: own, first"),
        ({"geometry": "polar"}, "geometry is 'polar'; accepted: pixels, authors"),
        ({"part_head": "sparse"}, "part_head is 'sparse'; accepted: auto, dense, classwise"),
        ({"normalization": "none"}, "normalization is 'none'; accepted: auto, imagenet, half, or six numbers such as"),
        ({"backbone": "resnett50"}, "'resnett50' is not a timm model; did you mean .*resnet50"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**options)
