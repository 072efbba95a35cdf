"""Two things at once on one run or model: each has its own folder, or one of them says that it has to wait."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mge
from mge.cli import main
from mge.errors import ConfigError, DataError, Interrupted, InUseError, ModelFolderError
from mge.evaluation import evaluation
from mge.inference.devices import one_device
from mge.storage.checkpoint import load_checkpoint, save_checkpoint
from mge.storage.lock import hold
from mge.storage.model_folder import StoredModel, load_model, save_model
from mge.storage.run_folder import NAMED, Run
from mge.training import loop
from mge.training import run as run_module
from mge.training.start import enter_part
from mge.training.step import train_step
from tests.tiny import SHORT, digest

TINY = {**SHORT, "workers": 0, "cache": "no", "epochs": 1}
NUMS = [3, pytest.param(8, marks=pytest.mark.slow)]  # trainings at once


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that was alone."""
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "whole", **TINY)


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(whole.folder, tmp_path / "copy"))


def at_once(commands: list[list[str]], *, cwd: Path) -> list[tuple[int, str]]:
    """Exit codes and stderr of command lines that all begin at the same moment, each in a process of its own."""
    gate = os.pipe()
    children = []
    for number, command in enumerate(commands):
        child = os.fork()
        if not child:
            code = 70
            try:
                os.close(gate[1])
                os.chdir(cwd)
                log = os.open(cwd / f"{number}.log", os.O_WRONLY | os.O_CREAT)
                sys.stderr = os.fdopen(log, "w", buffering=1)
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
                os.read(gate[0], 1)
                code = main(command)
            except BaseException:  # noqa: BLE001  (a fork of the tests must end here)
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    os.close(gate[0])
    os.close(gate[1])
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [(code, (cwd / f"{number}.log").read_text()) for number, code in enumerate(codes)]


def train_command(photos: Path, *more: str, **changes: Any) -> list[str]:  # noqa: ANN401
    options = [f"--{name}={value}".lower() for name, value in {**TINY, **changes}.items()]
    return ["train", str(photos), *options, *more]


@pytest.mark.parametrize("num", NUMS)
def test_a_sweep_of_several_trainings_at_once_gives_as_many_runs_with_their_own_bits(
    photos: Path, whole: Run, tmp_path: Path, num: int
) -> None:
    rates = [number * 1e-3 for number in range(1, num + 1)]
    results = at_once([train_command(photos, head_lr=rate) for rate in rates], cwd=tmp_path)
    assert [code for code, _ in results] == [0] * num, results
    names = [photos.name, *(f"{photos.name}-{number}" for number in range(2, num + 1))]
    runs = [Run(tmp_path / "runs" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(names)
    found = {run.config()["head_lr"]: run for run in runs}
    assert sorted(found) == rates
    assert len({digest(run.last) for run in runs}) == len({run.identity() for run in runs}) == num
    assert digest(found[1e-3].last) == digest(whole.last)  # the same settings, and nobody beside it
    for rate in rates[1:] if num == 8 else ():
        alone = mge.train(photos, out=tmp_path / f"alone-{rate}", **{**TINY, "head_lr": rate})
        assert digest(found[rate].last) == digest(alone.last)
    for rate, run in found.items():
        (row,) = run.metrics()
        assert float(row["head_lr"]) <= rate
        assert run.summary() == json.loads((run.folder / "summary.json").read_text()) != {}


@pytest.mark.parametrize("num", NUMS)
def test_of_several_trainings_on_one_out_one_gets_it_and_the_others_say_so_in_one_line(
    photos: Path, tmp_path: Path, num: int
) -> None:
    commands = [train_command(photos, "--out", "run", seed=seed) for seed in range(num)]
    results = at_once(commands, cwd=tmp_path)
    assert sorted(code for code, _ in results)[0] == 0
    (winner,) = [number for number, (code, _) in enumerate(results) if not code]
    for number, (code, said) in enumerate(results):
        if number != winner:
            assert code in (2, 75)
            (line,) = said.splitlines()
            assert "run exists and is not empty; give another --out" in line or "run is in use by process" in line
    run = Run(tmp_path / "run")
    assert run.config()["seed"] == winner
    assert run.summary()
    assert load_checkpoint(run.checkpoint_path)["settings"]["seed"] == winner


def test_two_threads_train_into_two_runs_with_the_bits_of_one_that_is_alone(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda: runs.append(mge.train(photos, **TINY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.folder for run in runs} == {Path("runs") / name for name in (photos.name, f"{photos.name}-2")}
    assert {digest(run.last) for run in runs} == {digest(whole.last)}


def happens_in_step(monkeypatch: pytest.MonkeyPatch, number: int, event: Callable[[], object]) -> None:
    """Lets something happen in a step, in another thread as in another process."""
    count = iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == number:
            thread = threading.Thread(target=event)
            thread.start()
            thread.join()
        return train_step(*args, **options)

    monkeypatch.setattr(loop, "train_step", step)


def test_a_run_that_is_being_trained_is_neither_resumed_nor_changed_by_another(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    said: list[Any] = []

    def interfere() -> None:
        unfinished = folder / "checkpoints" / ".last.ckpt-0123abcd.unfinished"
        unfinished.write_bytes(b"of the training")
        acts: list[Callable[[], object]] = [
            lambda: mge.train(resume=folder),
            lambda: mge.train(photos, out=folder, **TINY),
            lambda: mge.evaluate(folder, calibrate=True, report=False),
            lambda: mge.evaluate(folder / "best", photos, reject=0.5, report=False),
        ]
        for act in acts:
            try:
                act()
            except mge.MgeError as error:
                said.append(error)
        assert unfinished.exists()
        said.append(mge.evaluate(folder, report=False, out=tmp_path / "figures.json")["num_photos"])

    with monkeypatch.context() as patch:
        happens_in_step(patch, 4, interfere)
        run = mge.train(photos, out=folder, **{**TINY, "epochs": 2})
    resume, begin, *changes, measured = said
    assert [type(error) for error in (resume, *changes)] == [InUseError] * 3
    for error in (resume, *changes):
        assert str(error).startswith(f"{folder} is in use by process {os.getpid()} on ")
    assert isinstance(begin, ConfigError)
    assert measured == run.summary()["num_photos"]  # who changes nothing is let in
    assert not (folder / ".lock").exists()
    assert mge.evaluate(folder, calibrate=True, report=False)["calibration"]


def test_a_report_that_is_being_written_outlives_a_resume(copy: Run) -> None:
    being_written = [copy.folder / ".evaluation-test.json-1a.unfinished", copy.folder / "export" / ".x-1a.unfinished"]
    left = [copy.folder / ".best-1a.unfinished", copy.folder / "checkpoints" / ".last.ckpt-1a.unfinished"]
    (copy.folder / "export").mkdir()
    for path in being_written + left:
        path.touch()
    mge.train(resume=copy.folder)
    assert [path.exists() for path in being_written + left] == [True, True, False, False]


def test_what_fails_before_it_has_trained_removes_only_what_it_made(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise DataError("a photo is gone")

    def take_the_place(*_: Any, **__: Any) -> None:  # noqa: ANN401
        (tmp_path / "moved").rename(tmp_path / "away") if (tmp_path / "moved").exists() else None
        (tmp_path / "other").rename(tmp_path / "moved")
        Run.create(tmp_path / "other", config={"of": "another process"})
        (tmp_path / "other" / ".lock").touch()
        raise DataError("a photo is gone")

    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(run_module, "read_photos", fail)
    for name in ("new", "empty"):
        with pytest.raises(DataError):
            mge.train(photos, out=tmp_path / name, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())
    monkeypatch.setattr(run_module, "read_photos", take_the_place)
    with pytest.raises(DataError):
        mge.train(photos, out=tmp_path / "other", **TINY)
    assert Run(tmp_path / "other").config() == {"of": "another process"}


def while_measuring(monkeypatch: pytest.MonkeyPatch, event: Callable[[], object]) -> None:
    """Lets something happen after an evaluation has measured, and before it stores anything."""
    previous = evaluation._store
    is_first = iter([True])

    def store(*args: Any) -> Any:  # noqa: ANN401
        if next(is_first, False):
            event()
        return previous(*args)

    monkeypatch.setattr(evaluation, "_store", store)


def newer(stored: StoredModel) -> StoredModel:
    """The model of a later epoch."""
    state = {name: tensor + 1 for name, tensor in stored.state.items()}
    return dataclasses.replace(stored, state=state, metadata={**stored.metadata, "epoch": "newer"})


@pytest.mark.parametrize("options", [{"calibrate": True}, {"reject": 0.25}], ids=str)
def test_an_evaluation_never_writes_an_older_epoch_over_a_newer(
    copy: Run, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    known = {**load_model(copy.best).metadata, "rejection": {"threshold": 0.5}, "calibration": {"temperature": 9.0}}
    save_model(copy.best, dataclasses.replace(load_model(copy.best), metadata=known))
    while_measuring(monkeypatch, lambda: save_model(copy.best, newer(load_model(copy.best))))
    with pytest.raises(ModelFolderError, match=r"best was changed during the evaluation.*run the same command again$"):
        mge.evaluate(copy.folder, report=False, **options)
    assert load_model(copy.best).metadata["epoch"] == "newer"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"cascade": True, "max_accuracy_loss": 3}, {"reject": 0.9}),
        ({"reject": "auto", "target_error": 0.9}, {"calibrate": True}),
    ],
)
def test_of_two_choices_at_once_both_are_kept(
    copy: Run, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], second: dict[str, Any]
) -> None:
    stored = load_model(copy.best)
    metadata = {name: value for name, value in stored.metadata.items() if name not in ("cascade", "calibration")}
    save_model(copy.best, dataclasses.replace(stored, metadata={**metadata, "calibration": {"temperature": 7.0}}))
    while_measuring(monkeypatch, lambda: mge.evaluate(copy.folder, report=False, **second))
    figures = mge.evaluate(copy.folder, report=False, **first)
    names = {"calibrate": "calibration", "reject": "rejection", "cascade": "cascade"}
    chosen = {names[name] for options in (first, second) for name in options if name in names}
    now = load_model(copy.best).metadata
    assert chosen <= now.keys()
    assert figures["calibration"]["temperature"] == now["calibration"]["temperature"]
    if "calibrate" in {**first, **second}:
        assert now["calibration"]["temperature"] != 7.0
    if "auto" in first.values():  # its threshold is one of the new temperature's probabilities
        again = mge.evaluate(copy.folder, report=False, **first)
        assert now["rejection"] == load_model(copy.best).metadata["rejection"]
        assert again["rejection"] == figures["rejection"]


def test_choices_of_processes_that_begin_at_once_are_all_kept(copy: Run, tmp_path: Path) -> None:
    stored = load_model(copy.best)
    bare = {name: stored.metadata[name] for name in ("preprocessing", "provenance")}
    save_model(copy.best, dataclasses.replace(stored, metadata=bare))
    base = ["evaluate", str(copy.folder), "--no-report"]
    results = at_once([[*base, "--reject", "0.9"], [*base, "--cascade"]], cwd=tmp_path)
    assert [code for code, _ in results] == [0, 0], results
    assert load_model(copy.best).metadata.keys() - bare.keys() == {"rejection", "cascade"}


def test_who_only_measures_or_predicts_writes_nothing_into_the_run(copy: Run, photos: Path, tmp_path: Path) -> None:
    def listing() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in [copy.folder, *copy.folder.rglob("*")])

    before = listing()
    mge.evaluate(copy.folder, out=tmp_path / "figures.json", report=False)
    mge.predict(copy.folder, [str(photos)], output=tmp_path / "predictions.csv")
    mge.load(copy.folder)
    assert listing() == before


@pytest.fixture(scope="module")
def stopped_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was stopped after its second step."""
    count = iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == 3:
            raise Interrupted("stopped", signal_number=15)
        return train_step(*args, **options)

    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(Interrupted):
            mge.train(photos, out=folder, **TINY, checkpoint_steps=1)
    return Run(folder)


@pytest.fixture
def stopped(stopped_once: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(stopped_once.folder, tmp_path / "run"))


def test_a_checkpoint_of_another_run_is_refused_also_one_of_the_same_settings(stopped: Run) -> None:
    identity = json.loads((stopped.folder / "run.json").read_text())["id"]
    assert load_checkpoint(stopped.checkpoint_path)["run"] == identity
    (stopped.folder / "run.json").write_text('{"id": "0123456789abcdef"}')
    said = (
        rf"last\.ckpt belongs to another run: it has id {identity[:12]}, but .*run\.json has id 0123456789ab; copy this"
    )
    with pytest.raises(ModelFolderError, match=said):
        mge.train(resume=stopped.folder)


def test_a_finished_checkpoint_of_another_run_does_not_end_a_run_early(whole: Run, stopped: Run) -> None:
    for file in whole.checkpoint_path.parent.iterdir():
        shutil.copy(file, stopped.checkpoint_path.parent)
    with pytest.raises(ModelFolderError, match=r"last\.ckpt belongs to another run"):
        mge.train(resume=stopped.folder)
    assert not stopped.summary()


def test_a_checkpoint_of_other_settings_is_refused_by_their_name(stopped: Run) -> None:
    """A copy of a run has its id."""
    for name in ("config.yaml", "origin.json"):
        text = (stopped.folder / name).read_text()
        (stopped.folder / name).write_text(text.replace("0.001", "0.002"))
    assert stopped.config()["head_lr"] == 0.002
    with pytest.raises(ModelFolderError, match=r"was written with .*_lr 0\.001, but the run has .*_lr 0\.002"):
        mge.train(resume=stopped.folder)


def test_runs_and_checkpoints_of_an_older_mge_are_resumed(whole: Run, stopped: Run) -> None:
    saved = load_checkpoint(stopped.checkpoint_path)
    old = {name: value for name, value in saved.items() if name not in ("run", "settings")}
    save_checkpoint(stopped.checkpoint_path, old)
    with pytest.raises(ModelFolderError, match=r"belongs to another run: it has no id, but .*run\.json has id "):
        mge.train(resume=stopped.folder)
    (stopped.folder / "run.json").unlink()
    assert digest(mge.train(resume=stopped.folder).last) == digest(whole.last)


def test_a_plain_network_that_died_before_it_had_a_configuration_is_begun_anew(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config={"seed": 1})
    (run.folder / "plain").mkdir()
    (run.folder / "plain" / "environment.json").write_text("{}")
    part = enter_part(one_device("cpu"), {"seed": 2}, run.folder / "plain")
    assert part.config() == {"seed": 2}
    assert enter_part(one_device("cpu"), {"seed": 3}, part.folder).config() == {"seed": 2}
    assert part.identity() != run.identity()
    said: list[BaseException] = []

    def resume() -> None:
        try:
            mge.train(resume=part.folder)
        except mge.MgeError as error:
            said.append(error)

    part.write_config(dict.fromkeys(NAMED, "") | {"data": "beetles", "preset": "default"})
    with hold(run.lock_path, what=run.folder, lasts=True):  # it is locked with the whole
        thread = threading.Thread(target=resume)
        thread.start()
        thread.join()
    assert [type(error) for error in said] == [InUseError]


def test_a_model_that_is_replaced_while_it_is_read_is_read_as_one_of_the_two(copy: Run) -> None:
    old = dataclasses.replace(load_model(copy.best), metadata={"epoch": "older"})
    new = newer(old)
    save_model(copy.best, old)
    name = next(iter(old.state))
    values = {"older": old.state[name], "newer": new.state[name]}
    end = threading.Event()

    def replace() -> None:
        while not end.is_set():
            for each in (new, old):
                save_model(copy.best, each)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(20):
            stored = load_model(copy.best)
            assert torch.equal(stored.state[name], values[stored.metadata["epoch"]])
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("moment", ["load_file", "sha256", "_read_description"])
@pytest.mark.parametrize("exchanges", [True, False])
def test_at_whatever_moment_it_is_replaced(
    copy: Run, monkeypatch: pytest.MonkeyPatch, moment: str, exchanges: bool
) -> None:
    from mge.storage import files, model_folder

    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    new = newer(load_model(copy.best))
    previous, is_first = getattr(model_folder, moment), iter([True])

    def replaced(*args: Any) -> Any:  # noqa: ANN401
        if next(is_first, False):
            save_model(copy.best, new)
        return previous(*args)

    monkeypatch.setattr(model_folder, moment, replaced)
    stored = load_model(copy.best)
    assert stored.metadata["epoch"] == "newer"
    assert all(torch.equal(tensor, new.state[name]) for name, tensor in stored.state.items())


def test_where_a_folder_is_away_for_a_moment_it_is_waited_for(copy: Run, tmp_path: Path) -> None:
    """As on NFS, where two names cannot be swapped in one step."""
    away = copy.folder / ".best-0123abcd.unfinished"
    copy.best.rename(away)
    threading.Timer(0.2, lambda: away.rename(copy.best)).start()
    assert mge.load(copy.folder).class_names
    shutil.rmtree(copy.best)
    with pytest.raises(ModelFolderError, match="has no model yet"), contextlib.chdir(tmp_path):
        mge.load(copy.folder)
