"""Training on crops: one network for all experts, what is stored of it, and that it resumes in the same bits."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mge
from mge.config import ModelConfig, TrainConfig, split_options
from mge.errors import ConfigError, Interrupted
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import load_model
from mge.training.baselines import plan_baselines, training_cost
from mge.training.run import follow_weights
from tests.models.networks import CLASSES, build, draw
from tests.tiny import SHORT, digest
from tests.training.test_session import stop_after

CROPS: dict[str, Any] = {
    **SHORT,
    "schedule": "crops",
    "share_experts": True,
    "resized_crop": 0.1,
    "zoom_resolution": 2.0,
}


def test_a_shared_expert_looks_once_for_each_view_and_is_stored_once() -> None:
    torch.manual_seed(0)
    shared = build(num_experts=3, share_experts=True, output_stride=8).eval()
    assert len(shared.experts) == 1
    own = build(num_experts=3, output_stride=8).eval()
    for expert in own.experts:
        expert.load_state_dict(shared.experts[0].state_dict())
    assert own.gate is not None
    assert shared.gate is not None
    own.gate.load_state_dict(shared.gate.state_dict())
    with torch.inference_mode():
        for found, expected in zip(shared(draw()), own(draw()), strict=True):
            torch.testing.assert_close(found, expected)


def test_the_gradient_of_a_shared_expert_is_the_sum_over_its_views() -> None:
    net = build(num_experts=2, share_experts=True, output_stride=8)
    sums = [torch.zeros_like(parameter) for parameter in net.experts.parameters()]
    for expert_pass in net.run_experts(draw()):
        gradients = torch.autograd.grad(
            expert_pass.output.joint_logits.sum(), list(net.experts.parameters()), allow_unused=True
        )
        sums = [total if each is None else total + each for total, each in zip(sums, gradients, strict=True)]
    for expert_pass in net.run_experts(draw()):
        expert_pass.output.joint_logits.sum().backward()
    for parameter, total in zip(net.experts.parameters(), sums, strict=True):
        torch.testing.assert_close(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad, total)


def test_crops_train_one_network_that_answers_for_all_experts(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", **CROPS)
    summary = run.summary()
    assert len(summary["experts_top1"]) == 2
    stored = load_model(run.best)
    assert stored.config.share_experts
    assert {name.split(".")[1] for name in stored.state if name.startswith("experts.")} == {"0"}
    row = run.metrics()[-1]
    assert "train_loss_expert0" in row
    assert "train_loss_expert1" not in row  # one view a photo and step
    assert "val_top1_expert1" in row
    prediction = mge.load(run).predict(next(photos.rglob("*.png")))
    assert len(prediction.boxes_xyxy) == 2


def test_a_run_on_crops_resumes_in_the_same_bits(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mge.train(photos, out=tmp_path / "whole", ema=0.9, **CROPS)
    with monkeypatch.context() as patch:
        stop_after(patch, steps=6, number=signal.SIGTERM)
        with pytest.raises(Interrupted):
            mge.train(photos, out=tmp_path / "stopped", ema=0.9, **CROPS)
    resumed = mge.train(resume=tmp_path / "stopped")
    assert digest(resumed.last) == digest(whole.last)
    assert resumed.summary() == whole.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share_experts": False}, "schedule is crops and share_experts is false: .* use share_experts=true, or"),
        ({"resized_crop": 0.0}, r"schedule is crops and resized_crop is 0: .* use resized_crop=0\.1"),
        (
            {"schedule": "progressive"},
            "schedule is progressive and share_experts is true: .* use schedule=joint or crops",
        ),
    ],
)
def test_a_schedule_that_does_not_go_with_the_network_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_options(options)


def test_the_default_preset_trains_a_shared_network_on_crops_and_one_expert_is_fine_too() -> None:
    model, data, train = split_options({})
    assert (model.share_experts, train.schedule, train.optimizer) == (True, "crops", "adamw")
    assert data.resized_crop > 0
    split_options({"experts": 1, "part_filters": 0, "share_experts": False})


def test_beside_crops_plain_networks_see_the_photos_as_often() -> None:
    config = TrainConfig(epochs=12, schedule="crops", baseline="both")
    model = ModelConfig(experts=3, share_experts=True, size=128, zoom_resolution=2.7)
    assert training_cost(model, config) == 1
    plans = plan_baselines(model, config)
    assert [train.epochs for _, train in plans.values()] == [12, 12]
    assert [plain.size for plain, _ in plans.values()] == [128, 224]
    assert not any(plain.share_experts for plain, _ in plans.values())


@pytest.mark.parametrize(
    ("said", "expected"),
    [({}, ("half", "bicubic")), ({"normalization": "imagenet", "interpolation": "bilinear"}, ("imagenet", "bilinear"))],
)
def test_photos_are_prepared_as_the_weights_want_it_unless_told_otherwise(
    said: dict[str, str], expected: tuple[str, str]
) -> None:
    settings = {"backbone": "tf_efficientnet_lite0", "normalization": "auto", "interpolation": "auto", **said}
    found = follow_weights(settings)
    assert (found["normalization"], found["interpolation"]) == expected


def test_a_stored_model_and_a_run_say_in_full_how_photos_are_prepared(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", **{**CROPS, "epochs": 1})
    written = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    assert (written["normalization"], written["interpolation"]) == ("half", "bilinear")
    stored = load_model(run.best)
    assert stored.config.normalization == "half"
    assert stored.metadata["preprocessing"]["interpolation"] == "bilinear"
    network = MixtureOfExperts(stored.config, num_classes=CLASSES, pretrained=False)
    assert network.mean.flatten().tolist() == [0.5] * 3
