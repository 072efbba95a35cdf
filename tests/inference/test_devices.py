"""Devices and processes: what is asked for is there, or is refused in one line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

import mge
from mge.config import ModelConfig, TrainConfig
from mge.data.loader import epoch_batches
from mge.errors import ConfigError
from mge.inference.devices import (
    build_fabric,
    check_shares,
    choose_precision,
    count_of_torchrun,
    synchronizes_batch_norm,
)
from mge.models.backbone import Backbone, synchronize_batch_norm
from mge.training.batch_size import find_batch_size
from tests.photos import write_class_folders
from tests.tiny import SHORT


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_batch_norm_over_all_processes_answers_as_before_and_keeps_its_weights(name: str) -> None:
    """timm's BatchNormAct2d has an activation in it, which torch's own conversion would lose."""
    backbone = Backbone(name, pretrained=False).eval()
    pictures = torch.randn(2, 3, 64, 64)
    before, weights = backbone(pictures), {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    converted = synchronize_batch_norm(backbone)
    norms = [module for module in converted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 3
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms)
    assert converted.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in converted.state_dict().items())
    assert all(torch.equal(now, then) for now, then in zip(converted(pictures), before, strict=True))


@pytest.mark.parametrize(
    ("choice", "device", "world", "expected"),
    [
        ("auto", "cuda", 2, True), ("auto", "cuda", 1, False), ("auto", "cpu", 2, False), ("synced", "cuda", 2, True),
        ("local", "cuda", 2, False), ("frozen", "cuda", 2, False),
    ],
)  # fmt: skip
def test_several_gpus_have_one_batch_norm(choice: Any, device: str, world: int, expected: bool) -> None:  # noqa: ANN401
    fabric = cast(Fabric, SimpleNamespace(device=torch.device(device), world_size=world))
    assert synchronizes_batch_norm(TrainConfig(batch_norm=choice), fabric) is expected


def test_one_batch_norm_over_processes_without_gpus_is_refused() -> None:
    fabric = cast(Fabric, SimpleNamespace(device=torch.device("cpu"), world_size=2))
    with pytest.raises(ConfigError, match=r"batch_norm is synced, which needs GPUs.*local, frozen"):
        synchronizes_batch_norm(TrainConfig(batch_norm="synced"), fabric)


@pytest.mark.parametrize(("choice", "moves"), [("frozen", False), ("local", True)])
def test_frozen_batch_norm_learns_its_scale_and_keeps_its_statistics(tmp_path: Path, choice: str, moves: bool) -> None:
    photos = write_class_folders(tmp_path / "photos", per_class=4)
    options = {**SHORT, "epochs": 1, "experts": 1, "part_filters": 0, "batch_norm": choice}
    state = mge.load(mge.train(photos, out=tmp_path / "run", **options).last).model.state_dict()
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    scales = [tensor for name, tensor in state.items() if name.endswith("bn1.weight")]
    assert means
    assert any(mean.any() for mean in means) is moves
    assert any((scale != 1).any() for scale in scales)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "many"}, "devices is 'many'; accepted: a whole number, at least 1, or auto"),
        ({"devices": "0"}, "devices is '0'"),
        ({"accelerator": "tpu"}, "accelerator is 'tpu'; accepted: auto, cpu, cuda, mps"),
        ({"strategy": "fsdp"}, "strategy is 'fsdp'; accepted: auto, ddp; .* use schedule=progressive, gate=shared"),
        ({"nodes": 0}, "nodes is 0; accepted: at least 1"),
        ({"process_timeout": 0}, "process_timeout is 0; accepted: at least 1"),
        ({"batch_norm": "none"}, "accepted: auto, local, synced, frozen"),
    ],
)
def test_what_no_machine_has_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has GPUs")
def test_a_device_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError,
        match=r"--accelerator cuda with --devices 1 and --nodes 1 is not available: .*; available on this machine: cpu",
    ):
        build_fabric(TrainConfig(accelerator="cuda"))


def test_the_precision_is_that_of_the_device_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("mge.inference.devices.multiplies_bfloat16", lambda device: device == "cuda")
    assert choose_precision("auto", accelerator="auto") == "bf16-mixed"
    assert choose_precision("auto", accelerator="cuda") == "bf16-mixed"
    assert choose_precision("auto", accelerator="cpu") == "32-true"
    assert choose_precision("bfloat16", accelerator="cpu") == "bf16-mixed"


@pytest.mark.parametrize(("world", "num_photos", "expected"), [(1, 99, 4), (2, 99, 8), (3, 99, 12), (3, 7, 6)])
def test_a_batch_size_that_was_found_can_be_dealt_out_evenly(
    monkeypatch: pytest.MonkeyPatch, world: int, num_photos: int, expected: int
) -> None:
    monkeypatch.setattr("mge.training.batch_size._compute_size", lambda trial: 7)
    fabric = SimpleNamespace(device=torch.device("cpu"), world_size=world, all_reduce=lambda tensor, reduce_op: tensor)
    config = ModelConfig(backbone="test_resnet", experts=1, size=64, part_filters=0)
    found = find_batch_size(
        cast(Fabric, fabric), config, num_classes=2, num_photos=num_photos, config=TrainConfig(batch_size="auto")
    )
    assert found == expected


def test_torchrun_has_said_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_of_torchrun() is None
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert count_of_torchrun() == ("4", 2)


def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused() -> None:
    check_shares(TrainConfig(batch_size=12), world=3)
    check_shares(TrainConfig(batch_size="auto"), world=3)
    with pytest.raises(ConfigError, match=r"batch_size is 16 \(over all processes\), but there are 3.*such as 15"):
        check_shares(TrainConfig(batch_size=16), world=3)
    with pytest.raises(ConfigError, match="such as 8"):
        check_shares(TrainConfig(batch_size=2), world=8)


@pytest.mark.parametrize(("count", "expected"), [(7, [2, 2, 2]), (5, [1, 1, 1]), (2, [0, 0, 0])])
def test_photos_that_fill_no_batch_are_dealt_out_evenly_too(count: int, expected: list[int]) -> None:
    shares = [
        epoch_batches(count, batch_size=12, seed=0, epoch=0, shuffle=True, drop_last=True, rank=rank, world=3)
        for rank in range(3)
    ]
    assert [[len(batch) for batch in share] for share in shares] == [[number] for number in expected]
