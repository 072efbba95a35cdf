"""Heads trained on cached features of a frozen backbone: the same features, the same bits, an ordinary mixture."""

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import mge
from mge.config import ModelConfig, TrainConfig, split_options
from mge.data.dataset import PhotoDataset
from mge.data.sources import read_photos
from mge.errors import ConfigError, Interrupted
from mge.inference.classifier import Classifier
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import load_model
from mge.storage.run_folder import CACHE, Run
from mge.training import cached_views, network
from mge.training.baselines import plan_baselines
from mge.training.distillation import student_settings
from mge.training.feature_cache import FeatureCache
from mge.training.initial_weights import copy_weights, find_trained
from mge.training.learner import freeze_backbones, set_modes
from tests.models.networks import build, draw, expert_of
from tests.tiny import SHORT, digest
from tests.training.test_resume import untimed

CACHED: dict[str, Any] = {
    **SHORT, "schedule": "progressive", "share_backbone": True, "freeze_backbone": True, "cached_views": 2,
    "experts": 3, "zoom_resolution": 2.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody stopped, with its cached features still there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "remove", lambda _: None)
        return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "whole", **CACHED)


def test_a_shared_backbone_is_stored_once_and_loaded_for_all_experts() -> None:
    net, other = build(share_backbone=True), build(share_backbone=True)
    state = net.state_dict()
    assert {name.split(".")[1] for name in state if ".backbone." in name} == {"0"}
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(state)
    with torch.inference_mode():
        for found, expected in zip(other(draw()), net(draw()), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_run_on_cached_features_trains_heads_only_and_gives_an_ordinary_mixture(whole: Run, photos: Path) -> None:
    stored = load_model(whole.last)
    torch.manual_seed(0)  # of the run
    begun = MixtureOfExperts(stored.config, num_classes=3, pretrained=False).state_dict()
    of_backbone = [name for name in stored.state if ".backbone." in name]
    assert {name.split(".")[1] for name in of_backbone} == {"0"}
    assert any(name.endswith("running_mean") for name in of_backbone)
    assert all(torch.equal(stored.state[name], begun[name]) for name in of_backbone)
    heads = [name for name in stored.state if "head" in name and name.endswith("weight")]
    assert {name.split(".")[1] for name in heads} == {"0", "1", "2"}
    assert not any(torch.equal(stored.state[name], begun[name]) for name in heads)
    assert [row["stage"] for row in whole.metrics()] == [0, 0, 1, 1, 2, 2]
    assert len(mge.load(whole).predict(next(photos.rglob("*.png"))).boxes_xyxy) == 3


def test_cached_features_are_those_of_the_mixture_run_on_the_same_views(whole: Run, photos: Path) -> None:
    model = Classifier.from_stored(load_model(whole.last)).model
    seen: list[Any] = []
    expert_of(model, 0).backbone.register_forward_hook(lambda _, __, maps: seen.append(maps))
    options = {name: value for name, value in whole.config().items() if name not in ("data", "format", "preset")}
    _, data, _ = split_options(options)
    known = read_photos(photos, config=data, seed=0)
    trained_on = PhotoDataset(known.split("train"), known.class_names, side=128, config=data, train=True)
    for view in range(2):
        images = torch.stack([trained_on[view, number].image for number in range(len(trained_on))])
        seen.clear()
        with torch.no_grad():
            model(images)
        assert len(seen) == 3
        for expert, maps in enumerate(seen):
            for file in (whole.folder / CACHE / "train" / f"expert{expert}").iterdir():
                cached = torch.from_numpy(np.load(file)).chunk(2)[view].float()
                rounding = 2e-3 if expert == 0 else 2e-2  # of float16; it moves the boxes of later views too
                torch.testing.assert_close(cached, getattr(maps, file.stem), rtol=rounding, atol=rounding)
    assert {file.stem for file in (whole.folder / CACHE / "train" / "expert0").iterdir()} == {"part", "large", "pooled"}
    assert {file.stem for file in (whole.folder / CACHE / "val" / "expert2").iterdir()} == {"part", "pooled"}


@pytest.mark.parametrize("has_cache", [True, False], ids=["with its cache", "without"])
def test_a_run_stopped_between_two_steps_ends_in_the_same_bits(
    whole: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_cache: bool
) -> None:
    real, count = FeatureCache.step, iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == 11:  # of six in each stage
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "step", step)
        with pytest.raises(Interrupted, match="after batch 2 of epoch 2"):
            mge.train(photos, out=tmp_path / "run", **CACHED)
    if not has_cache:
        shutil.rmtree(tmp_path / "run" / CACHE)
    resumed = mge.train(resume=tmp_path / "run")
    assert digest(resumed.last) == digest(whole.last)
    assert untimed(resumed) == untimed(whole)
    assert resumed.summary() == whole.summary()
    assert not (resumed.folder / CACHE).exists()


def test_a_run_stopped_while_features_are_computed_leaves_none_of_them_half_and_goes_on(
    whole: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = cached_views.look, iter(range(1, 1000))

    def look(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == 12:  # of nine for each expert: eight for training, one for validation
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cached_views, "look", look)
        with pytest.raises(Interrupted, match="before the first batch"):
            mge.train(photos, out=tmp_path / "run", **CACHED)
    assert [path.name for path in (tmp_path / "run" / CACHE / "train").iterdir()] == ["expert0"]
    resumed = mge.train(resume=tmp_path / "run")
    assert digest(resumed.last) == digest(whole.last)
    assert resumed.summary() == whole.summary()


def test_features_that_do_not_fit_on_the_disk_are_refused_before_they_are_computed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"features of 30 views need .* GB, and 0\.0 GB are free at .*; use fewer"):
        mge.train(photos, out=tmp_path / "run", **CACHED)
    assert not (tmp_path / "run").exists()


def test_a_frozen_backbone_neither_learns_nor_changes_its_statistics_in_any_schedule() -> None:
    net = build(share_experts=True)
    freeze_backbones(net)
    set_modes(net, config=TrainConfig(freeze_backbone=True))
    expert = expert_of(net, 0)
    assert not any(parameter.requires_grad for parameter in expert.backbone.parameters())
    assert not any(module.training for module in expert.backbone.modules())
    assert expert.large_head.weight.requires_grad
    assert expert.part_filters is not None
    assert expert.part_filters.norm.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"freeze_backbone": False},
            "share_backbone is true and freeze_backbone is false: .* use freeze_backbone",
        ),
        ({"freeze_backbone": False, "share_backbone": False}, "cached_views is 2: .* only with freeze_backbone=true"),
        ({"schedule": "joint"}, "only with schedule=progressive; set that, or use cached_views=0"),
        ({"gate": "own", "mixup": 0.2}, "only with gate=shared and mixup=0"),
        ({"freeze_previous": False, "cutmix": 1.0}, "only with freeze_previous=true and cutmix=0"),
        ({"share_experts": True}, "schedule is progressive and share_experts is true"),
    ],
)
def test_options_under_which_features_cannot_be_cached_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_options(options, preset="laptop")


def test_the_plain_network_of_the_preset_is_a_linear_probe_and_its_student_is_trained_on_photos(whole: Run) -> None:
    model, _, config = split_options({"baseline": "same_view", "epochs": 5}, preset="laptop")
    plain, plan = plan_baselines(model, config)["plain"]
    assert (plain.experts, plain.part_filters, plain.share_backbone) == (1, 0, False)
    assert (plan.epochs, plan.schedule, plan.freeze_backbone, plan.cached_views) == (15, "progressive", True, 2)
    settings = student_settings(whole.folder, changes={}, lesson={})
    assert (settings["schedule"], settings["freeze_backbone"], settings["cached_views"]) == ("joint", False, 0)


def test_fine_tuning_takes_the_backbone_of_the_run_that_it_goes_on_from(
    whole: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {}
    monkeypatch.setattr("mge.training.run.train_run", lambda given, **_: settings.update(given))
    mge.train(photos, out=tmp_path / "run", weights=str(whole))
    assert settings["backbone"] == "test_resnet"
    assert find_trained(settings["weights"]) == whole.best
    assert find_trained("resnet50.safetensors") is None


def test_fine_tuning_begins_with_the_backbone_and_the_heads_of_a_run(whole: Run) -> None:
    stored = load_model(whole.last)
    config = ModelConfig.from_dict({**stored.config.to_dict(), "share_backbone": False, "share_experts": True})
    net = MixtureOfExperts(config, num_classes=3, pretrained=False)
    note = copy_weights(stored, net, class_names=stored.class_names)
    assert "tensors of heads and gate" in note
    state = net.state_dict()
    assert all(torch.equal(state[name], stored.state[name]) for name in state)
    other = MixtureOfExperts(config, num_classes=4, pretrained=False)
    assert "no heads" in copy_weights(stored, other, class_names=("a", "b", "c", "d"))
    name = next(name for name in state if name.endswith("running_mean") and ".backbone." in name)
    assert torch.equal(other.state_dict()[name], stored.state[name])
    with pytest.raises(ConfigError, match="weights is a model with the backbone test_resnet, which does not fit"):
        copy_weights(stored, build("test_vit", num_classes=3), class_names=stored.class_names)
