"""Options, methods and commands by their previous names: with a warning where a person uses them, else without."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mge
from mge.config import PRESETS, DataConfig, ModelConfig, TrainConfig, complete_options
from mge.config.previous_names import COMMANDS, OPTIONS, rename_options
from mge.console.command_line import parse
from mge.errors import ConfigError
from mge.storage.checksum import NO_CHECKSUM, seal
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run
from mge.tasks.train import train
from tests.models.networks import build
from tests.runs import write_model, write_run
from tests.tiny import SHORT, digest
from tests.training.test_resume import stopped

NOW = {each.name: each for cls in (ModelConfig, DataConfig, TrainConfig) for each in dataclasses.fields(cls)}
# As they stand in a run of the version before, with values that are not the defaults.
PREVIOUS: dict[str, Any] = {
    "attention_to": "class", "box": "extent", "detail": 2.0, "follow": "true", "freeze_former": False,
    "gate_trust": "full", "normalisation": "half", "start": "weights",
}  # fmt: skip
RENAMED: dict[str, Any] = {
    "cam_target": "class", "box_method": "threshold", "zoom_resolution": 2.0, "train_cam_class": "label",
    "freeze_previous": False, "gate_temperature": "none", "normalization": "half", "expert_init": "pretrained",
}  # fmt: skip


def as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by the names and values that they had in the version before."""
    before = {}
    for name, value in settings.items():
        old, values = next(((old, values) for old, (now, values) in OPTIONS.items() if now == name), (name, {}))
        before[old] = {now: old_value for old_value, now in values.items()}.get(value, value)
    return before


def test_each_previous_name_stands_for_an_option_and_is_none_itself() -> None:
    assert set(PREVIOUS) == set(OPTIONS)
    assert not set(OPTIONS) & set(NOW)
    assert {now for now, _ in OPTIONS.values()} <= set(NOW)
    assert rename_options(PREVIOUS) == RENAMED
    assert rename_options(RENAMED) == RENAMED
    assert not set(COMMANDS) & set(mge.VERBS)
    assert {name for preset in PRESETS.values() for name in preset} <= set(NOW)  # others would be ignored


@pytest.mark.parametrize("name", PREVIOUS)
def test_on_the_command_line_a_previous_name_works_with_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    now, value = OPTIONS[name][0], PREVIOUS[name]
    text = str(value).lower()
    for args in ([f"--{name}", text], [f"--{name.replace('_', '-')}={text}"]):
        assert parse(train, ["photos", *args]) == {"data": "photos", now: RENAMED[now]}
        line = capsys.readouterr().err
        assert line.startswith((f"mge: warning: --{name}", f"mge: warning: --{name.replace('_', '-')}"))
        assert f" is called --{now.replace('_', '-')}" in line
        assert line.count("\n") == 1


def test_a_switch_is_turned_off_by_its_previous_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(train, ["photos", "--no-freeze-former"]) == {"data": "photos", "freeze_previous": False}
    assert "--no-freeze-former is called --no-freeze-previous; the previous name is" in capsys.readouterr().err
    assert parse(train, ["--freeze_former", "photos"]) == {"data": "photos", "freeze_previous": True}


def test_a_configuration_file_of_the_version_before_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(PREVIOUS), encoding="utf-8")
    assert parse(train, ["photos", "--config", str(file)]) == {"data": "photos", **RENAMED}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(PREVIOUS)
    assert "settings.yaml', line 1: attention_to is called cam_target; the previous name is removed" in lines[0]


def test_a_file_with_both_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("detail: 2\nzoom_resolution: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2: zoom_resolution is given twice"):
        parse(train, ["photos", "--config", str(file)])


def test_a_wrong_value_of_a_previous_name_is_refused_by_the_name_now() -> None:
    with pytest.raises(ConfigError, match="box_method is 'spreads'; accepted: moments, threshold"):
        parse(train, ["photos", "--box", "spreads"])


def test_a_previous_name_of_other_commands_is_their_own_business() -> None:
    def verb(*, start: int = 0, flip: bool = True) -> None:
        """Does something."""

    assert parse(verb, ["--start", "3"]) == {"start": 3}
    with pytest.raises(ConfigError, match="unknown option 'detail'"):
        parse(verb, ["--detail", "3"])


def test_keyword_arguments_work_by_their_previous_names_with_a_warning() -> None:
    with pytest.warns(FutureWarning) as told:
        found = complete_options(PREVIOUS)
    assert {name: found[name] for name in RENAMED} == RENAMED
    assert len(told) == len(PREVIOUS)
    assert "follow='true' is called train_cam_class='label'; the previous name is removed" in str(told[3].message)
    with pytest.warns(FutureWarning, match="^detail=2 is called zoom_resolution=2"):
        assert ModelConfig(detail=2) == ModelConfig(zoom_resolution=2)  # type: ignore[call-arg]
    with pytest.warns(FutureWarning, match="box='spread' is called box_method='moments'"):
        net = mge.create_model("test_resnet", num_classes=3, pretrained=False, experts=1, box="spread")
    assert net.config.box_method == "moments"
    with pytest.raises(ConfigError, match="zoom_resolution is given twice, also by its previous name detail"):
        ModelConfig.from_dict({"detail": 2, "zoom_resolution": 2})


def test_methods_work_by_their_previous_names_with_a_warning() -> None:
    net, images = build(num_experts=1), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    with pytest.warns(FutureWarning, match="^normalise is called normalize; the previous name is removed"):
        pictures = net.normalise(images)
    with pytest.warns(FutureWarning, match="^look is called run_experts"):
        (found,) = net.look(pictures)
    assert torch.equal(found.boxes_xyxy, next(net.run_experts(pictures)).boxes_xyxy)


def test_a_model_folder_of_the_version_before_is_read_without_a_word(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", **{name: RENAMED[name] for name in RENAMED if hasattr(ModelConfig, name)})
    now = load_model(folder).config
    file = folder / "model.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    before = {**description, "format_version": 3, "architecture": as_before(description["architecture"])}
    assert before["architecture"]["box"] == "extent"
    file.write_bytes(seal(json.dumps({**before, "checksum": NO_CHECKSUM}).encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(folder).config == now


def test_a_run_of_the_version_before_goes_on_to_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {**SHORT, **RENAMED, "schedule": "progressive", "epochs": 1}
    whole = mge.train(photos, out=tmp_path / "whole", **options)
    run = Run(stopped(photos, tmp_path / "run", monkeypatch, after=2, **options))
    config = run.folder / "config.yaml"
    before = as_before(yaml.safe_load(config.read_text(encoding="utf-8")))
    assert before["follow"] == "true"
    config.write_text(yaml.safe_dump(before), encoding="utf-8")
    origin = json.loads((run.folder / "origin.json").read_text(encoding="utf-8"))
    origin["settings"] = as_before(origin["settings"])
    (run.folder / "origin.json").write_text(json.dumps(origin), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = mge.train(resume=run.folder)
    assert digest(resumed.last) == digest(whole.last)


def test_a_run_of_the_version_before_is_read_without_a_word(photos: Path, tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", data=photos))
    run.write_config({**run.config(), **PREVIOUS})
    assert {name: run.config()[name] for name in RENAMED} == RENAMED
