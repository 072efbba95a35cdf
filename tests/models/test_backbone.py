"""Backbones: feature maps at two depths of any timm network, and where their weights come from."""

import os
import re
import socket
import time
from pathlib import Path
from typing import Any, cast

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import _builder
from torch import Tensor, nn

from mge.errors import ConfigError
from mge.models.backbone import Backbone, End, pretrained_input
from mge.models.neck import apply_layers
from mge.models.structure import Structure
from tests.models.networks import BACKBONES, SIZE, SWIN, build, draw

NO_STRUCTURE = Structure("NCHW", True, (), ())
ALL = [*BACKBONES, pytest.param(SWIN, marks=pytest.mark.slow)]


# One network a family, or more where they end differently. (timm name, side in pixels; None: its own)
FAMILIES = {
    "resnet10t": 64, "regnetx_002": 64, "densenet121": 64, "convnext_atto": 64, "convnextv2_atto": 64,
    "tf_efficientnet_lite0": 64, "efficientnet_b0": 64, "mobilenetv2_035": 64, "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small": 64, "lcnet_050": 64, "ghostnet_050": 64, "efficientvit_b0": 64, "efficientvit_m0": None,
    "fastvit_t8": 64, "hgnetv2_b0": 64, "caformer_s18": 64, "poolformer_s12": 64, "rexnet_100": 64,
    "edgenext_xx_small": 64, "mobilevit_xxs": 64, "repvit_m0_9": 64, "tiny_vit_5m_224": None, "pvt_v2_b0": 64,
    "inception_next_atto": 64, "mambaout_femto": 64, "nfnet_l0": 64, "rdnet_tiny": 64, "starnet_s1": 64,
    "hiera_tiny_224": None, "levit_128s": None, "efficientformerv2_s0": None, "deit_tiny_patch16_224": 64,
    "vit_small_patch16_dinov3": 64, "eva02_tiny_patch14_224": 56, "xcit_nano_12_p16_224": 64,
    "swin_tiny_patch4_window7_224": None,
}  # fmt: skip


# --------------------------------------------------------------- pooled features
@pytest.mark.parametrize("name", FAMILIES)
def test_the_pooled_features_are_what_timms_own_classifier_reads(name: str) -> None:
    backbone = Backbone(name, size=FAMILIES[name], pretrained=False).eval()
    whole = timm.create_model(name, pretrained=False, num_classes=3, **sized(name)).eval()
    missing = whole.load_state_dict(backbone.net.state_dict(), strict=False)
    assert not missing.unexpected_keys
    side = FAMILIES[name] or backbone.fixed_size or 224
    images = draw(2, height=side, width=side)
    with torch.inference_mode():
        maps = backbone(images)
        wanted = cast(Any, whole).forward_head(cast(Any, whole).forward_features(images), pre_logits=True)
        torch.testing.assert_close(maps.pooled, wanted)
    assert maps.pooled.shape == (2, backbone.num_features)
    assert maps.large.shape[:2] == (2, backbone.width)


def sized(name: str) -> dict[str, Any]:
    settings = timm.get_pretrained_cfg(name)
    side = FAMILIES[name]
    return {"img_size": side} if side is not None and settings is not None and settings.fixed_input_size else {}


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "mobilenetv4_conv_small", "hgnetv2_b0",
             "efficientvit_b0", "ghostnet_050", "inception_next_atto", "mambaout_femto", "hiera_tiny_224"],
)  # fmt: skip
@pytest.mark.parametrize("training", [False, True])
def test_attention_in_closed_form_is_autograds_grad_cam(name: str, training: bool) -> None:
    backbone = Backbone(name, size=FAMILIES[name], pretrained=False)
    randomise_norms(backbone)
    backbone.eval()  # batch norm counts with its running statistics in either mode
    side = FAMILIES[name] or backbone.fixed_size or 224
    classifier, labels = nn.Linear(backbone.num_features, 4), torch.tensor([1, 3])
    large = backbone(draw(2, height=side, width=side)).large.detach().requires_grad_()
    layers = [backbone.net.get_submodule(each) for each in (backbone.structure or NO_STRUCTURE).behind]
    logits = classifier(apply_layers(layers, large.mean((2, 3))))
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), large)
    backbone.train(training)
    with torch.inference_mode():
        found = backbone.pull_back(large, classifier.weight[labels])
    expected = gradient.sum((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def randomise_norms(module: nn.Module) -> None:
    """Gives norms weights and statistics that are not those of a fresh network, 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm) and layer.weight is not None:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
        if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None and layer.running_mean is not None:
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)


def test_a_vit_with_a_class_token_is_read_by_it_and_its_cells_are_weighed_by_the_classifier() -> None:
    backbone = Backbone("test_vit", size=SIZE, pretrained=False).eval()
    maps = backbone(draw(2))
    tokens = backbone.net.forward_features(draw(2))
    torch.testing.assert_close(maps.pooled, tokens[:, 0])
    torch.testing.assert_close(maps.large.flatten(2).mT, tokens[:, -16:])
    weights = torch.randn(2, backbone.num_features)
    assert backbone.pull_back(maps.large, weights) is weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg11", "vgg11 has layers after its last feature map that mix cells, .* choose another backbone"),
        ("crossvit_tiny_240", "crossvit_tiny_240 returns several feature maps at its end; choose one that returns one"),
        ("halonet26t", "halonet26t does not accept an input size of 96 px: .*; use --size 256"),
    ],
)
def test_a_network_whose_attention_cannot_be_followed_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        Backbone(name, size=96 if name == "halonet26t" else None, pretrained=False)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "efficientvit_b0"],  # the latter has a batch norm behind its last map
)
def test_a_new_network_has_seen_no_picture(name: str) -> None:
    state = Backbone(name, size=SIZE, pretrained=False).net.state_dict()
    torch.testing.assert_close(state, {key: unseen(key, tensor) for key, tensor in state.items()})


def unseen(key: str, tensor: Tensor) -> Tensor:
    """What a batch norm's statistics begin with; other tensors as they are."""
    begins = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    name = key.rpartition(".")[2]
    return torch.full_like(tensor, begins[name]) if name in begins else tensor


def test_a_networks_end_is_traced_once_for_all_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[int] = []

    def trace(self: Backbone, side: int, *, device: torch.device) -> End:
        traced.append(side)
        return original(self, side, device=device)

    original = Backbone._trace
    monkeypatch.setattr(Backbone, "_trace", trace)
    monkeypatch.setattr("mge.models.backbone._ENDS", {})
    first, second = (build("test_efficientnet", num_experts=3, gate="own") for _ in range(2))
    assert traced == [SIZE]
    assert all(torch.equal(*pair) for pair in zip(first(draw()), second(draw()), strict=True))
    build("test_efficientnet", num_experts=1, size=96)
    build("test_efficientnet", num_experts=1, output_stride=16)
    assert traced == [SIZE, 96, SIZE]


def test_models_stored_before_kept_the_end_of_a_network_have_what_they_had() -> None:
    backbone = Backbone("test_efficientnet", size=SIZE, pretrained=False, head_layers="none").eval()
    assert not any(key.startswith("conv_head") for key in backbone.net.state_dict())
    maps = backbone(draw(2))
    torch.testing.assert_close(maps.pooled, maps.large.mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "mean", "interpolation", "size"),
    [
        ("tf_efficientnet_lite0", 0.5, "bicubic", None),
        ("resnet50.tv_in1k", 0.485, "bilinear", None),
        ("timm/resnet18.a1_in1k", 0.485, "bicubic", None),
        ("hf-hub:timm/resnet18.a1_in1k", 0.485, "bicubic", None),
        ("vit_base_patch16_224.augreg_in21k", 0.5, "bicubic", 224),
        ("vit_base_patch16_clip_224.openai", 0.48145466, "bicubic", 224),
    ],
)
def test_the_input_of_pretrained_weights_is_timms(name: str, mean: float, interpolation: str, size: int | None) -> None:
    found = pretrained_input(name)
    assert (found.mean[0], found.interpolation, found.size) == (mean, interpolation, size)


# --------------------------------------------------------------------------- maps
@pytest.mark.parametrize("name", ALL)
def test_maps_have_the_widths_and_cells_that_the_backbone_says(name: str) -> None:
    backbone = Backbone(name, size=SIZE, pretrained=False)
    part, large, _ = backbone(draw(2))
    cells = SIZE // backbone.stride
    assert large.shape == (2, backbone.width, cells, cells)
    assert part.shape[:2] == (2, backbone.part_width)
    assert part.shape[2] >= cells


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_networks_with_stages_give_their_last_two(name: str) -> None:
    backbone = Backbone(name, pretrained=False).eval()
    expected = timm.create_model(name, pretrained=False, features_only=True, out_indices=backbone.depths).eval()
    # timm's feature networks name their layers `stages_0.…` where the whole network says `stages.0.…`.
    own = {key.replace(".", "_"): tensor for key, tensor in backbone.net.state_dict().items()}
    expected.load_state_dict({key: own[key.replace(".", "_")] for key in expected.state_dict()})
    part, large, _ = backbone(draw(2))
    wanted_part, wanted_large = expected(draw(2))
    torch.testing.assert_close(part, wanted_part)
    if name == "test_efficientnet":  # its 1x1 convolution behind the stages is in front of the pool
        wanted_large = backbone.net.bn2(backbone.net.conv_head(wanted_large))
    torch.testing.assert_close(large, wanted_large)


def test_a_transformer_of_one_resolution_gives_the_block_at_three_quarters_and_the_last() -> None:
    backbone = Backbone("test_vit", size=SIZE, pretrained=False).eval()
    blocks: list[Tensor] = []
    for block in backbone.net.blocks:
        block.register_forward_hook(lambda _module, _given, tokens: blocks.append(tokens))
    part, large, _ = backbone(draw(2))
    assert len(blocks) == 6
    for found, tokens in ((part, blocks[3]), (large, blocks[5])):
        expected = backbone.net.norm(tokens[:, -16:])  # without the class token
        torch.testing.assert_close(found.flatten(2).mT, expected)


@pytest.mark.slow
def test_a_network_that_computes_with_channels_last_gives_its_maps_with_channels_first() -> None:
    backbone = Backbone(SWIN, size=SIZE, pretrained=False).eval()
    stages: list[Tensor] = []
    for layer in backbone.net.layers:
        layer.register_forward_hook(lambda _module, _given, maps: stages.append(maps))
    part, large, _ = backbone(draw(2))
    torch.testing.assert_close(part, stages[-2].permute(0, 3, 1, 2))
    torch.testing.assert_close(large, backbone.net.norm(stages[-1]).permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_kept_that_no_gradient_reaches(name: str) -> None:
    backbone = Backbone(name, size=SIZE, pretrained=False)
    part, large, pooled = backbone(draw(2))
    (part.square().mean() + large.square().mean() + pooled.square().mean()).backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_smaller_output_stride_gives_finer_maps(name: str, stride: int) -> None:
    backbone = Backbone(name, size=SIZE, output_stride=stride, pretrained=False)
    assert backbone.stride == stride
    assert backbone(draw(1)).large.shape[2:] == (SIZE // stride, SIZE // stride)


def test_without_a_size_pictures_of_any_size_and_shape_are_taken() -> None:
    backbone = Backbone("test_resnet", pretrained=False)
    assert backbone(draw(1, height=96, width=160)).large.shape[2:] == (3, 5)
    assert backbone(draw(1, height=64, width=64)).large.shape[2:] == (2, 2)


def test_a_transformer_is_built_for_the_size_asked_for() -> None:
    assert Backbone("test_vit", size=96, pretrained=False)(draw(1, height=96, width=96)).large.shape[2:] == (6, 6)


#  errors
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnett50", {}, r"backbone 'resnett50' is not a timm model; did you mean .*resnet50"),
        ("", {}, r"backbone '' is not a timm model; `timm.list_models\(\)` lists them"),
        ("hf-hub:someone/something", {}, "is not a timm model"),
        (
            "test_resnet.nonsense",
            {},
            r"'test_resnet.nonsense' has a weights tag .* not know; available: test_resnet\.r160",
        ),
        (
            "test_resnet",
            {"size": 63},
            "size is 63 px, too small for test_resnet with a stride of 32 px; use at least 64",
        ),
        ("test_resnet", {"size": 0}, "size is 0 px, too small for test_resnet"),
        ("test_vit", {"size": 16}, "size is 16 px, too small for test_vit with a stride of 16 px; use at least 32"),
        ("test_vit", {"size": 70}, "size is 70 px, .* patches of 16 px; use a multiple of 16, such as 64"),
        ("test_vit", {"size": 64, "output_stride": 16}, "test_vit does not accept img_size=64, output_stride=16"),
        ("test_vit", {"output_stride": 8}, "test_vit does not accept output_stride=8"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Backbone(name, pretrained=False, **options)


def test_the_smallest_size_that_an_error_names_is_taken() -> None:
    assert Backbone("test_resnet", size=64, pretrained=False)(draw(1)).large.shape[2:] == (2, 2)


def test_a_network_without_feature_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_names, **_options: nn.Identity())
    with pytest.raises(ConfigError, match="backbone test_resnet has no spatial feature maps; choose a ResNet"):
        Backbone("test_resnet", pretrained=False)


# ---------------------------------------------------------------------------------------------------- weights in a file
def write(file: Path, state: dict[str, Tensor]) -> Path:
    if file.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    else:
        torch.save(state, file)
    return file


def donor(name: str = "test_resnet", **options: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The weights of another network of the name, each entry different from a new network's."""
    torch.manual_seed(77)
    state = timm.create_model(name, pretrained=False, **options).state_dict()
    return {key: tensor + torch.rand(tensor.shape).to(tensor.dtype) + 1 for key, tensor in state.items()}


def without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    classifiers = ("fc.", "head.weight", "head.bias", "head.fc.", "classifier.")
    return {key: tensor for key, tensor in state.items() if not key.startswith(classifiers)}


def assert_filled(net: nn.Module, state: dict[str, Tensor]) -> None:
    own = net.state_dict()
    assert len(own) > 20
    for key, tensor in own.items():
        assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_weights_of_a_file_fill_every_backbone(tmp_path: Path, ending: str) -> None:
    state = donor()
    net = build(num_experts=3, gate="own", weights=write(tmp_path / f"weights{ending}", state))
    assert net.gate is not None
    for owner in (*net.experts, net.gate):
        assert_filled(owner.get_submodule("backbone.net"), state)


def test_weights_are_taken_out_of_a_training_checkpoint(tmp_path: Path) -> None:
    state = donor()
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "last.pth")
    assert_filled(Backbone("test_resnet", weights=tmp_path / "last.pth").net, state)


@pytest.mark.parametrize("name", ALL)
def test_weights_need_no_classifier(tmp_path: Path, name: str) -> None:
    state = without_classifier(donor(name, **({} if name != SWIN else {"img_size": SIZE})))
    backbone = Backbone(
        name, size=None if name != SWIN else SIZE, weights=write(tmp_path / "weights.safetensors", state)
    )
    assert_filled(backbone.net, state)


def test_a_classifier_for_other_classes_is_left_alone(tmp_path: Path) -> None:
    state = donor(num_classes=17)
    assert_filled(Backbone("test_resnet", weights=str(write(tmp_path / "weights.pth", state))).net, state)


def test_weights_of_a_transformer_for_another_picture_size_are_resampled(tmp_path: Path) -> None:
    state = donor("test_vit", img_size=160)
    net = Backbone("test_vit", size=SIZE, weights=write(tmp_path / "weights.safetensors", state)).net
    assert torch.equal(net.get_parameter("blocks.3.mlp.fc1.weight"), state["blocks.3.mlp.fc1.weight"])
    embedding = net.get_parameter("pos_embed")
    assert embedding.shape[1] == 17
    assert float(embedding.detach().mean()) == pytest.approx(float(state["pos_embed"].mean()), abs=0.05)


def refused(file: Path, name: str = "test_resnet") -> str:
    with pytest.raises(ConfigError) as caught:
        Backbone(name, weights=file)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(file)) in message
    assert name in message
    return message


def test_a_missing_weights_file_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path / "none.pth")
    assert message.endswith("does not exist; give a .safetensors or .pth file of test_resnet")


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>" * 100])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"weights{ending}"
    file.write_bytes(content)
    assert "cannot be read" in (message := refused(file)) or "is damaged" in message


def test_half_a_weights_file_is_refused(tmp_path: Path) -> None:
    for ending in (".safetensors", ".pth"):
        file = write(tmp_path / f"weights{ending}", donor())
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert "cannot be read" in refused(file)


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "weights.safetensors", donor("test_convnext")))
    assert re.search("does not fit test_resnet: (\\d+) of \\1 tensors are missing .*, the first is 'conv1", message)


def test_weights_of_another_shape_or_with_one_missing_are_refused(tmp_path: Path) -> None:
    state = donor()
    short = {key: tensor for key, tensor in state.items() if key != "layer3.0.conv2.weight"}
    assert ": 1 of " in refused(write(tmp_path / "short.pth", short))
    wide = {**state, "layer3.0.conv2.weight": torch.zeros(3, 3)}
    assert "the first is 'layer3.0.conv2.weight'" in refused(write(tmp_path / "wide.pth", wide))


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {"conv1.0.weight": 3}, {"state_dict": {"conv1": "x"}}, 5])
def test_a_file_with_something_else_than_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert "does not contain named tensors" in refused(tmp_path / "weights.pth")


class Bomb:
    """What is pickled calls a function as soon as it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_file_that_runs_code_when_unpickled_is_refused_and_its_code_is_not_run(tmp_path: Path) -> None:
    torch.save({**donor(), "extra": Bomb(tmp_path / "exploded")}, tmp_path / "weights.pth")
    assert "contains more than weights" in refused(tmp_path / "weights.pth")
    assert not (tmp_path / "exploded").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pth")
    assert "contains more than weights" in refused(tmp_path / "weights.pth")


# --------------------------------------------------------------------------------------------------- pretrained weights
UNREACHABLE = r"could not download the pretrained weights of test_resnet \(.*\); .* --weights FILE, .* --no-pretrained"


def test_without_a_network_the_error_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_names: object, **_options: object) -> None:
        raise OSError("Network is unreachable\nand much more")

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", fail)
    with pytest.raises(ConfigError, match=UNREACHABLE) as caught:
        Backbone("test_resnet", pretrained=True)
    assert "(Network is unreachable)" in str(caught.value)


def test_hugging_face_offline_gives_the_same_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=UNREACHABLE):
        Backbone("test_resnet", pretrained=True)


def test_where_no_name_resolves_the_cache_is_asked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_such_name(*_where: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=UNREACHABLE):
        Backbone("test_resnet", pretrained=True)
    assert time.monotonic() - started < 5, "Hugging Face tries again for 46 seconds"
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_network_that_nobody_pretrained_is_not_silently_left_random() -> None:
    with pytest.raises(ConfigError, match=r"mobilenetv2_035 \(No pretrained weights exist"):
        Backbone("mobilenetv2_035", pretrained=True)


def test_a_wrong_size_is_noticed_before_a_download() -> None:
    with pytest.raises(ConfigError, match="size is 32 px, too small for test_resnet"):
        Backbone("test_resnet", size=32, pretrained=True)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What Hugging Face would send."""
    state: dict[str, Tensor] = {}
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_names, **_options: dict(state))
    return state


def test_pretrained_weights_fill_every_backbone(downloads: dict[str, Tensor]) -> None:
    downloads.update(donor())
    net = build(num_experts=2, gate="own", pretrained=True)
    assert net.gate is not None
    for owner in (*net.experts, net.gate):
        assert_filled(owner.get_submodule("backbone.net"), downloads)


def test_a_pretrained_transformer_is_fitted_to_the_picture_size(downloads: dict[str, Tensor]) -> None:
    downloads.update(donor("test_vit", img_size=160))
    net = Backbone("test_vit", size=SIZE, pretrained=True).net
    assert torch.equal(net.get_parameter("blocks.3.mlp.fc1.weight"), downloads["blocks.3.mlp.fc1.weight"])
    assert net.get_parameter("pos_embed").shape[1] == 17


def test_weights_of_a_file_are_taken_instead_of_a_download(tmp_path: Path) -> None:
    state = donor()
    backbone = Backbone("test_resnet", pretrained=True, weights=write(tmp_path / "weights.pth", state))
    assert_filled(backbone.net, state)


@pytest.mark.parametrize(
    ("name", "output_stride", "expected"),
    [
        ("resnet18", 0, -15.5),  # five strided layers see around the first of 32 pixels: 0.5 - 16
        ("test_convnext", 0, 0.0),  # patches that do not overlap
        ("test_vit", 0, 0.0),
    ],
)
def test_the_offset_is_what_the_layers_strides_add_up_to(name: str, output_stride: int, expected: float) -> None:
    backbone = Backbone(name, size=128, output_stride=output_stride, pretrained=False)
    assert backbone.measure_offset() == pytest.approx(expected, abs=1.5)
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert backbone.training


def test_the_offset_says_where_a_dot_is_seen() -> None:
    """A dot that moves over the view moves the map's answer with it, off by the offset."""
    backbone = Backbone("resnet10t", size=256, output_stride=16, pretrained=False).eval()
    errors = []
    with torch.inference_mode():
        blank = backbone(torch.zeros(1, 3, 256, 256)).large
        for place in range(96, 160, 8):
            picture = torch.zeros(1, 3, 256, 256)
            picture[..., place - 4 : place + 4, place - 4 : place + 4] = torch.randn(3, 8, 8)
            change = (backbone(picture).large - blank).square().sum((0, 1))
            centers = 16 * (torch.arange(16) + 0.5)
            errors.append(place - float((change.sum(0) * centers).sum() / change.sum()))
    assert sum(errors) / len(errors) == pytest.approx(backbone.measure_offset(), abs=2)
