"""The authors' program, number for number: what it computes stands in `authors_parity/`."""

import copy
import dataclasses
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from mge.config import PRESETS, ModelConfig, Preset, split_options
from mge.core.losses import expert_loss, mix_experts
from mge.core.outputs import MixtureOutput
from mge.errors import ModelFolderError
from mge.models.authors import authors_config, authors_key, from_authors
from mge.models.mixture import MixtureOfExperts, create_model
from tests.targets import one_hot

PARITY = Path(__file__).parent / "authors_parity"
LABELS = torch.tensor([3, 11])
HEADS = {"large": "large_logits", "small": "part_logits", "joint": "joint_logits"}
SIZE = 448


class Table:
    """Collects the largest difference of each kind of figure, and writes them as docs/deviations.md has them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[float, str]] = {}

    def relative(self, mode: str, figure: str, ours: Tensor, theirs: np.ndarray, *, tolerance: float) -> None:
        """Compares with the largest figure of a tensor as the unit, and each entry by itself where it is not tiny."""
        found, expected = ours.detach().double().numpy(), theirs.astype(np.float64)
        assert found.shape == expected.shape
        scale = float(np.abs(expected).max())
        self._add(mode, figure, float(np.abs(found - expected).max()) / scale, unit="relative")
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale / 100, err_msg=figure)

    def pixels(self, mode: str, figure: str, ours: Tensor, theirs: np.ndarray) -> None:
        difference = float(np.abs(ours.double().numpy() - theirs).max())
        self._add(mode, figure, difference, unit="px")
        assert difference <= 1, f"{figure}: {ours} instead of {theirs}"

    def _add(self, mode: str, figure: str, difference: float, *, unit: str) -> None:
        previous = self.rows.get((mode, figure), (0.0, unit))[0]
        self.rows[mode, figure] = (max(previous, difference), unit)

    def __str__(self) -> str:
        modes = ("eval_predicted", "eval_given", "train_given")
        lines = [f"| figure | {' | '.join(modes)} |", "| --- | --- | --- | --- |"]
        for figure in dict.fromkeys(figure for _, figure in self.rows):
            cells = [self.rows.get((mode, figure)) for mode in modes]
            texts = [
                "" if cell is None else f"{cell[0]:.0f} px" if cell[1] == "px" else f"{cell[0]:.1e}" for cell in cells
            ]
            lines.append(f"| {figure} | {' | '.join(texts)} |")
        return "\n".join(lines)


class Recorded:
    """What the authors' program computed in one mode."""

    def __init__(self, mode: str) -> None:
        with np.load(PARITY / "expected.npz") as file:
            self.arrays = {key.removeprefix(f"{mode}/"): file[key] for key in file.files if key.startswith(mode)}

    def logits(self, head: str) -> np.ndarray:
        """(B, E, C)."""
        return np.stack([self.arrays[f"{head}_{number}"] for number in (1, 2, 3)], axis=1)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    collected = Table()
    yield collected
    sys.stdout.write(f"\n{collected}\n")  # shown with `pytest -s`


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[int]]:
    return dict(json.loads((PARITY / "state_dict_shapes.json").read_text()))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.from_numpy(runpy.run_path(str(PARITY / "weights.py"))["images"](2, SIZE))


@pytest.fixture(scope="module")
def network(shapes: dict[str, list[int]]) -> MixtureOfExperts:
    state = runpy.run_path(str(PARITY / "weights.py"))["state"](shapes)
    return from_authors({key: torch.from_numpy(np.asarray(array)) for key, array in state.items()})


def compare_answers(table: Table, mode: str, output: MixtureOutput) -> None:
    recorded = Recorded(mode)
    for head, field in HEADS.items():
        name = f"logits, {head.replace('small', 'part')} heads"
        table.relative(mode, name, getattr(output, field), recorded.logits(head), tolerance=1e-3)
    table.relative(mode, "logits, mixture", output.logits, recorded.arrays["mixture"], tolerance=1e-3)
    table.relative(mode, "gate", output.gate_probs, recorded.arrays["gate"], tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "labels"), [("eval_predicted", None), ("eval_given", LABELS)])
def test_eval_mode_gives_the_authors_logits_gate_and_boxes(
    network: MixtureOfExperts, pictures: Tensor, table: Table, mode: str, labels: Tensor | None
) -> None:
    network.eval()
    with torch.inference_mode():
        output = network(pictures, labels)
    compare_answers(table, mode, output)
    found = [output.boxes_xyxy[:, 1], inside(output.boxes_xyxy[:, 2], output.boxes_xyxy[:, 1])]
    for zoom, (ours, theirs) in enumerate(zip(found, Recorded(mode).arrays["boxes"], strict=True), start=1):
        table.pixels(mode, f"boxes, zoom {zoom}", ours, theirs)


def inside(boxes_xyxy: Tensor, outer: Tensor) -> Tensor:
    """Boxes of the picture in pixels of the view that `outer` shows: what the authors' program calls a box."""
    extent = (outer[:, 2:] - outer[:, :2]).repeat(1, 2)
    return (boxes_xyxy - outer[:, :2].repeat(1, 2)) / extent * SIZE


class TrainStep(NamedTuple):
    """One step in training mode: answers, boxes in pixels of the views, losses, the network with its gradients."""

    output: MixtureOutput
    found_boxes: list[Tensor]
    losses: list[Tensor]
    network: MixtureOfExperts


@pytest.fixture(scope="module")
def step(network: MixtureOfExperts, pictures: Tensor) -> TrainStep:
    """The losses as the training loop takes them: a backward after each expert, then one for the gate."""
    learner = copy.deepcopy(network).train()
    passes, losses, diversities = [], [], []
    previous: Tensor | None = None
    targets = one_hot(LABELS, network.num_classes)
    for expert_pass in learner.run_experts(pictures, LABELS):
        terms = expert_loss(expert_pass.output, previous, targets, diversity="authors")
        terms.total(diversity_weight=1.0).backward()
        previous = expert_pass.output.joint_logits.detach()
        losses += [terms.large, terms.part, terms.joint]
        diversities.append(terms.diversity)
        passes.append(expert_pass)
    joint_logits = torch.stack([expert_pass.output.joint_logits.detach() for expert_pass in passes], dim=1)
    gate_probs = learner.weigh(passes[0].view, passes[0].output.large_features)
    mixture = mix_experts(joint_logits, gate_probs, mix=learner.config.mix)
    losses.append(functional.cross_entropy(mixture, targets))
    losses[-1].backward()
    losses += diversities[1:]
    output = MixtureOutput(
        logits=mixture,
        gate_probs=gate_probs,
        large_logits=torch.stack([expert_pass.output.large_logits for expert_pass in passes], dim=1),
        part_logits=torch.stack([expert_pass.output.part_logits for expert_pass in passes], dim=1),
        joint_logits=joint_logits,
        attention=torch.stack([expert_pass.attention for expert_pass in passes], dim=1),
        boxes_xyxy=torch.stack([expert_pass.boxes_xyxy for expert_pass in passes], dim=1),
    )
    return TrainStep(
        output, [expert_pass.next_boxes_xyxy for expert_pass in passes], [*losses, torch.stack(losses).sum()], learner
    )


@pytest.mark.slow
def test_train_mode_gives_the_authors_logits_gate_and_boxes(step: TrainStep, table: Table) -> None:
    compare_answers(table, "train_given", step.output)
    recorded = Recorded("train_given").arrays["boxes"]
    for zoom, (ours, theirs) in enumerate(zip(step.found_boxes[:2], recorded, strict=True), start=1):
        table.pixels("train_given", f"boxes, zoom {zoom}", ours, theirs)


@pytest.mark.slow
def test_train_mode_gives_the_authors_thirteen_losses(step: TrainStep, table: Table) -> None:
    recorded = Recorded("train_given").arrays["losses"]
    assert len(recorded) == len(step.losses) == 13
    for number, (ours, theirs) in enumerate(zip(step.losses, recorded, strict=True)):
        kind = "sum" if number == 12 else "diversity" if number > 9 else "cross-entropy"
        table.relative("train_given", f"losses, {kind}", ours, np.asarray(theirs), tolerance=1e-3)


@pytest.mark.slow
def test_train_mode_gives_the_authors_fourteen_gradient_norms(step: TrainStep, table: Table) -> None:
    recorded = {
        key.removeprefix("grad_norm/"): norm
        for key, norm in Recorded("train_given").arrays.items()
        if key.startswith("grad_norm/")
    }
    assert len(recorded) == 14
    squares = dict.fromkeys(recorded, torch.zeros(()))
    for key, parameter in step.network.named_parameters():
        if authors_key(key) in squares:
            assert parameter.grad is not None, key
            squares[authors_key(key)] = squares[authors_key(key)] + parameter.grad.square().sum()
    for key, norm in recorded.items():
        table.relative("train_given", "gradient norms", squares[key].sqrt(), np.asarray(norm), tolerance=1e-2)


State = dict[str, Tensor]


def layout(arch: str, *, num_classes: int) -> dict[str, list[int]]:
    """The names and shapes of the program's tensors, made out of torchvision's network as the program does."""
    with torch.device("meta"):
        stages = list(getattr(torchvision.models, arch)(weights=None).children())
        coarse, last = nn.Sequential(*stages[:-3]).state_dict(), stages[-3].state_dict()
    shapes: dict[str, list[int]] = {}
    for suffix in ("", "_box", "_box_2", "_gate"):
        shapes |= {f"conv4{suffix}.{key}": list(tensor.shape) for key, tensor in coarse.items()}
        shapes |= {f"conv5{suffix}.{key}": list(tensor.shape) for key, tensor in last.items()}
    parts, joint = 10 * num_classes, 2048 + 10 * num_classes
    layers = {"cls_cat_a.fc": (num_classes, 3 * joint), "cls_gate.0.fc": (512, 2048), "cls_gate.1.fc": (3, 512)}
    for suffix, box in (("", ""), ("_1", "_box"), ("_2", "_box_2")):
        layers |= {f"classifier{box}.fc": (num_classes, 2048), f"cls_part{suffix}.fc": (num_classes, parts)}
        layers |= {f"cls_cat{suffix}.fc": (num_classes, joint)}
        shapes |= {f"conv6{suffix}.weight": [parts, 1024, 1, 1], f"conv6{suffix}.bias": [parts]}
    for name, (rows, columns) in layers.items():
        shapes |= {f"{name}.weight": [rows, columns], f"{name}.bias": [rows]}
    return shapes


def blank_state(arch: str = "resnet50", *, num_classes: int = 3) -> State:
    """A checkpoint without content, which takes no memory."""
    return {
        key: torch.zeros((), dtype=torch.int64 if key.endswith("num_batches_tracked") else torch.float32).expand(shape)
        for key, shape in layout(arch, num_classes=num_classes).items()
    }


def test_the_layout_that_these_tests_make_is_the_recorded_one(shapes: dict[str, list[int]]) -> None:
    assert layout("resnet50", num_classes=20) == shapes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("experts.0.backbone.net.conv1.weight", "conv4.0.weight"),
        ("experts.0.backbone.net.bn1.running_var", "conv4.1.running_var"),
        ("experts.0.backbone.net.layer1.0.downsample.1.bias", "conv4.4.0.downsample.1.bias"),
        ("experts.1.backbone.net.layer3.5.conv2.weight", "conv4_box.6.5.conv2.weight"),
        ("experts.2.backbone.net.layer4.2.conv3.weight", "conv5_box_2.2.conv3.weight"),
        ("gate.backbone.net.layer2.3.bn1.weight", "conv4_gate.5.3.bn1.weight"),
        ("gate.layers.1.bias", "cls_gate.1.fc.bias"),
        ("experts.1.large_head.weight", "classifier_box.fc.weight"),
        ("experts.1.part_filters.filters.bias", "conv6_1.bias"),
        ("experts.2.part_head.weight", "cls_part_2.fc.weight"),
        ("experts.0.joint_head.large.bias", "cls_cat.fc.bias"),
        ("experts.2.joint_head.part.weight", "cls_cat_2.fc.weight"),
    ],
)
def test_each_tensor_has_its_place(ours: str, theirs: str) -> None:
    assert authors_key(ours) == theirs


def test_a_training_checkpoint_of_several_devices_is_read_with_all_choices_of_the_program() -> None:
    state = blank_state(num_classes=3)
    joint = torch.arange(2048.0 + 30).expand(3, -1)
    state["cls_cat_1.fc.weight"] = joint
    checkpoint = {"epoch": 7, "state_dict": {f"module.{key}": tensor for key, tensor in state.items()}, "optimizer": {}}
    network = from_authors(checkpoint)
    assert network.num_classes == 3
    assert network.config == authors_config("resnet50")
    own = network.state_dict()
    assert torch.equal(own["experts.1.joint_head.large.weight"], joint[:, :2048])
    assert torch.equal(own["experts.1.joint_head.part.weight"], joint[:, 2048:])
    assert not own["experts.1.backbone.net.layer4.2.conv3.weight"].any()
    assert not own["gate.layers.0.weight"].any()


def test_what_old_pytorch_did_not_save_and_what_the_program_never_uses_may_be_absent() -> None:
    state = {
        key: tensor
        for key, tensor in blank_state().items()
        if not key.startswith("cls_cat_a.") and not key.endswith("num_batches_tracked")
    }
    network = from_authors(state)
    counts = [tensor for key, tensor in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert len(counts) == 4 * 53
    assert not torch.stack(counts).any()


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["resnet101", "resnet152"])
def test_deeper_backbones_are_recognized(arch: str) -> None:
    network = from_authors(blank_state(arch))
    assert network.config == authors_config(arch)
    assert network.config.backbone == arch


def test_uint8_pictures_are_scaled_as_in_the_program() -> None:
    chosen = authors_config().normalization
    network = create_model("test_resnet", num_classes=3, experts=1, pretrained=False, normalization=chosen)
    pictures = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    scaled = network.normalize(pictures)[0, :, 0, 0]
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -0.6, 1.0]))
    floats = torch.rand(1, 3, 4, 4)
    assert network.normalize(floats) is floats


def without(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def with_entry(key: str, value: Any) -> Callable[[State], object]:  # noqa: ANN401  (what a checkpoint should not hold)
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("cls_gate.1.fc.bias"), "lacks 1 of 1300 tensors, the first is 'cls_gate.1.fc.bias'"),
        (
            without("conv5_box.0.bn1.running_mean"),
            "lacks 1 of 1300 tensors, the first is 'conv5_box.0.bn1.running_mean'",
        ),
        (without("classifier.fc.weight"), "has no 'classifier.fc.weight'"),
        (with_entry("fc.weight", torch.zeros(2)), "unexpected tensors: 1, the first is 'fc.weight'"),
        (
            with_entry("conv4.0.weight", torch.zeros(64, 1, 7, 7)),
            r"'conv4.0.weight' .*\[64, 1, 7, 7\]; .*\[64, 3, 7, 7\]",
        ),
        (with_entry("conv4.0.weight", torch.zeros(64, 3, 7, 7, dtype=torch.int64)), "torch.int64 .*; expected float"),
        (with_entry("classifier.fc.weight", torch.zeros(4, 2048)), r"expected float of shape \[4\] for the 4 classes"),
        (with_entry("cls_part_2.fc.weight", torch.zeros(4, 30)), r"\[4, 30\]; expected .*\[3, 30\] for the 3 classes"),
        (with_entry("cls_cat.fc.weight", torch.zeros(3, 2048)), r"\[3, 2048\]; expected float of shape \[3, 2078\]"),
        (with_entry("conv6.weight", torch.zeros(27, 1024, 1, 1)), r"\[27, 1024, 1, 1\]; expected .*\[30, 1024, 1, 1\]"),
        (with_entry("classifier.fc.weight", torch.zeros(1, 2048)), "one row per class, for 2 or more classes"),
        (with_entry("classifier.fc.weight", torch.zeros(2048)), "one row per class, for 2 or more classes"),
        (with_entry("epoch", 3), "entry 'epoch' of the checkpoint is of the type int; expected a tensor"),
        (with_entry("conv4.6.9.conv1.weight", torch.zeros(2)), "has 7 blocks in stage 3"),
        (without("conv4.4.0.conv3.weight"), "no bottleneck blocks; accepted: .*resnet50 .6."),
        (State.clear, "holds a dict without tensors"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(spoil: Callable[[State], object], message: str) -> None:
    state = blank_state()
    spoil(state)
    with pytest.raises(ModelFolderError, match=message) as raised:
        from_authors(state)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("arch", ["resnet34", "wide_resnet50_2", "resnext50_32x4d"])
def test_other_backbones_are_refused(arch: str) -> None:
    with pytest.raises(ModelFolderError, match=r"no bottleneck blocks|expected float of shape"):
        from_authors(blank_state(arch))


def test_a_checkpoint_without_tensors_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="holds a dict without tensors; give the authors' state dict"):
        from_authors({"state_dict": {}})


def test_the_preset_authors_is_what_their_program_does() -> None:
    """Read in models/local_cam.py, pretrain.py, utils/config.py, dataset/get_loader.py and configs/cub_resnet50.yml."""
    model, data, train = split_options({}, preset="authors")
    assert dataclasses.replace(model, backbone="resnet50") == authors_config("resnet50")
    assert model == ModelConfig(
        backbone="resnet50.tv_in1k", experts=3, size=448, zoom_resolution=1.0, output_stride=0, zoom_from="previous",
        geometry="authors", attention="first", cam_target="class", positive_weights=True, box_method="threshold",
        attention_threshold=0.2, part_filters=10, part_padding=1, part_head="dense", part_norm="none",
        part_gradient=False, gate="own", mix="logits", normalization="half",
    )  # fmt: skip
    assert (data.resize, round(model.size / data.crop_fraction), data.flip, data.jitter) == ("short", 512, True, 0.0)
    assert (train.epochs, train.batch_size, train.schedule, train.pretrained) == (100, 10, "joint", True)
    assert (train.optimizer, train.head_lr, train.backbone_lr, train.weight_decay) == ("sgd", 0.01, 0.001, 1e-4)
    assert (train.decay, train.decay_epochs, train.warmup_epochs) == ("step", 30, 0.0)
    assert (train.diversity, train.diversity_weight, train.label_smoothing) == ("authors", 1.0, 0.0)
    assert (train.clip_norm, train.ema, train.accumulate, train.precision) == (0.0, 0.0, 1, "float32")


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_a_preset_of_a_publication_leaves_no_switch_of_the_network_to_our_defaults(preset: Preset) -> None:
    assert {field.name for field in dataclasses.fields(ModelConfig)} <= set(PRESETS[preset])


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_a_preset_of_a_publication_builds_the_network_of_the_program(
    preset: Preset, shapes: dict[str, list[int]]
) -> None:
    with torch.device("meta"):
        network = MixtureOfExperts(split_options({}, preset=preset)[0], num_classes=20, pretrained=False)
    assert {authors_key(key) for key in network.state_dict()} == {key for key in shapes if "cls_cat_a" not in key}


def test_every_option_in_which_the_presets_and_the_defaults_differ_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs" / "deviations.md").read_text(encoding="utf-8")
    resolved = [
        {name: value for config in split_options({}, preset=preset) for name, value in config.to_dict().items()}
        for preset in ("default", "paper", "authors")
    ]
    differing = [name for name in resolved[0] if len({str(options[name]) for options in resolved}) > 1]
    assert "attention" in differing
    assert [name for name in differing if f"`{name}`" not in text] == []
