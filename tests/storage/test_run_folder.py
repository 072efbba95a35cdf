"""A run folder says what was done, on what, and what came of it."""

import json
import math
import os
from pathlib import Path

import pytest

from mge.errors import ConfigError, ModelFolderError, StorageError
from mge.storage import environment
from mge.storage.environment import describe_environment
from mge.storage.run_folder import Run, find_model_folder, open_run

CONFIG = {"data": "beetles", "experts": 3, "weights": None, "cache": "no", "backbone_lr": 5e-4}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs" / "beetles", config=CONFIG)


def test_a_run_holds_its_configuration_and_environment(run: Run) -> None:
    assert open_run(str(run.folder)).config() == CONFIG
    assert repr(run).startswith(f"Run({str(run.folder)!r})\n")
    assert Path(run) == Path(str(run)) == run.folder  # so that it can be given to every verb
    ran_on = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
    assert ran_on.keys() == describe_environment().keys()
    assert ran_on["packages"]["torch"]


def test_a_folder_with_something_in_it_becomes_no_run(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="exists and is not empty; give another --out"):
        Run.create(tmp_path, config=CONFIG)
    with pytest.raises(ConfigError, match="exists and is not empty"):
        Run.create(tmp_path / "photo.jpg", config=CONFIG)


def test_a_folder_that_safetensors_could_not_read_weights_from_becomes_no_run(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9tes"))
    with pytest.raises(ConfigError, match=r"b\\udce9tes' is not valid UTF-8, .*; give another --out"):
        Run.create(folder, config=CONFIG)
    assert not folder.exists()


def test_an_empty_folder_becomes_a_run(tmp_path: Path) -> None:
    assert Run.create(tmp_path, config=CONFIG).config() == CONFIG


def test_the_command_that_goes_on_with_a_run_that_is_gone_can_be_given_as_it_stands(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"resume with: mge train --resume '.*/my run'$"):
        Run(tmp_path / "my run").check_exists()


def test_metrics_are_rows_by_epoch(run: Run) -> None:
    assert run.metrics() == []
    run.append_metrics({"stage": 0, "epoch": 0, "loss": 2.5})
    run.append_metrics({"stage": 0, "epoch": 1, "loss": 1.5, "val_top1": 40.0})
    assert run.metrics() == [
        {"stage": 0, "epoch": 0, "loss": 2.5},
        {"stage": 0, "epoch": 1, "loss": 1.5, "val_top1": 40.0},
    ]


def test_metrics_are_numbers_so_that_the_best_is_the_largest(run: Run) -> None:
    for epoch, top1 in enumerate([95.0, 100.0, 9.5, float("nan")]):
        run.append_metrics({"stage": 0, "epoch": epoch, "val_top1": top1, "loss": 1e-05, "num_photos": 12})
    assert max(run.metrics()[:3], key=lambda row: row["val_top1"])["epoch"] == 1
    assert {name: type(value) for name, value in run.metrics()[0].items()} == {
        "stage": int, "epoch": int, "val_top1": float, "loss": float, "num_photos": int
    }  # fmt: skip
    assert math.isnan(run.metrics()[3]["val_top1"])


@pytest.mark.parametrize("row", ["0,1,much", "0,1,2,3", "0,one,2"])
def test_a_figure_that_is_no_number_is_one_line(run: Run, row: str) -> None:
    (run.folder / "metrics.csv").write_text(f"stage,epoch,loss\n0,0,1.5\n{row}\n")
    with pytest.raises(ModelFolderError, match=r"metrics\.csv is damaged: .*remove it, or copy it again"):
        run.metrics()


def test_an_epoch_that_is_trained_again_replaces_its_row_and_what_came_after(run: Run) -> None:
    for stage, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        run.append_metrics({"stage": stage, "epoch": epoch, "loss": 1})
    run.append_metrics({"stage": 0, "epoch": 1, "loss": 2})
    run.append_metrics({"stage": 1, "epoch": 0, "loss": 2})
    assert [(row["stage"], row["epoch"], row["loss"]) for row in run.metrics()] == [
        (0, 0, 1), (0, 1, 2), (1, 0, 2)
    ]  # fmt: skip


def test_the_summary_is_empty_until_it_is_written(run: Run) -> None:
    assert run.summary() == {}
    run.write_summary({"mixture_top1": 61.5, "experts_top1": [50.0, 60.0]})
    assert run.summary() == {"mixture_top1": 61.5, "experts_top1": [50.0, 60.0]}


def test_damaged_files_are_one_line_for_the_user(run: Run) -> None:
    (run.folder / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"summary\.json is damaged"):
        run.summary()
    for content, message in [("a: [", r"config\.yaml cannot be read"), ("- 1", "it has no settings")]:
        (run.folder / "config.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(ModelFolderError, match=message):
            run.config()


def test_a_setting_that_is_needed_and_lacks_is_one_line_for_the_user(run: Run) -> None:
    assert run.config("data", "experts") == CONFIG
    with pytest.raises(ModelFolderError, match=r"config\.yaml has no seed; copy it again or start a new run$"):
        run.config("data", "seed")


def test_metrics_that_a_spreadsheet_has_written_with_semicolons_are_refused(run: Run) -> None:
    (run.folder / "metrics.csv").write_text("stage;epoch;loss\n0;0;1,5\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"metrics\.csv is damaged: a row has no stage or no epoch; remove it"):
        run.append_metrics({"stage": 0, "epoch": 1, "loss": 1})


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelFolderError, match=r"is not a run folder: it has no config\.yaml"):
            open_run(folder)


def test_a_run_stands_for_its_best_model_and_a_model_for_itself(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="has no model yet; resume it with: mge train --resume"):
        find_model_folder(run.folder)
    run.best.mkdir()
    assert find_model_folder(run.folder) == run.best
    assert find_model_folder(str(run.best)) == run.best
    with pytest.raises(ModelFolderError, match="does not exist"):
        find_model_folder(tmp_path / "none")


def test_outside_its_repository_mge_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.setattr(environment, "PACKAGES", ("mge", "no-such-package"))
    described = describe_environment()
    assert described["commit"] is None
    assert described["packages"]["no-such-package"] is None


def test_a_broken_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    assert describe_environment()["commit"] is None
