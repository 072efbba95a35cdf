"""Many photos into a file: in every form, after a kill, and over several processes."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import parquet

import mge
from mge.cli import main
from mge.inference.prediction import Prediction
from tests.data.sources.test_containers import write_tar
from tests.exports import build_tiny, save_mixture
from tests.photos import write_class_folders, write_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("photos"), per_class=4)


@pytest.fixture(scope="module")
def expected(tiny_model: Path, photos: Path) -> list[Prediction]:
    return mge.load(tiny_model, fast=False).predict([*sorted(photos.rglob("*.png"))])


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_form_holds_every_prediction_in_order(
    tiny_model: Path, photos: Path, tmp_path: Path, expected: list[Prediction]
) -> None:
    rows: dict[str, list[Any]] = {}
    for name in ("p.csv", "p.json", "p.jsonl", "p.parquet"):
        mge.predict(tiny_model, [str(photos)], output=tmp_path / name, top=2, batch_size=5)
    rows["json"] = json.loads((tmp_path / "p.json").read_text())
    rows["jsonl"] = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    rows["parquet"] = parquet.read_table(tmp_path / "p.parquet").to_pylist()
    for found in rows.values():
        assert [row["path"] for row in found] == [prediction.path for prediction in expected]
        for row, wanted in zip(found, expected, strict=True):
            assert row["label"] == wanted.label
            assert row["probability"] == pytest.approx(wanted.probability, abs=1e-5)
            assert [entry["label"] for entry in row["top"]] == [label for label, _ in wanted.top(2)]
            assert row["gate_probs"] == pytest.approx(wanted.gate_probs, abs=1e-5)
            assert row["boxes_xyxy"][1] == pytest.approx(wanted.boxes_xyxy[1], abs=1e-3)
    table = read_csv(tmp_path / "p.csv")
    assert [(row["path"], row["label"], row["label_1"]) for row in table] == [
        (wanted.path, wanted.label, wanted.label) for wanted in expected
    ]
    assert float(table[3]["box_1_y2"]) == pytest.approx(expected[3].boxes_xyxy[1][3], abs=1e-3)
    assert only(tmp_path) == ["p.csv", "p.json", "p.jsonl", "p.parquet"]


def test_photos_in_archives_are_classified_under_their_names(
    tiny_model: Path, photos: Path, tmp_path: Path, expected: list[Prediction]
) -> None:
    files = sorted(photos.rglob("*.png"))
    archive = write_tar(tmp_path / "a.tar", {f"{n}.png": file.read_bytes() for n, file in enumerate(files)})
    found = mge.predict(tiny_model, [str(archive)], output=tmp_path / "p.jsonl")
    assert [prediction.path for prediction in found] == [f"{archive}#{n}.png" for n in range(len(files))]
    assert [prediction.label for prediction in found] == [wanted.label for wanted in expected]


class Stopped(Exception):
    """What a kill looks like from the inside."""


def stop_after(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    from mge.inference.resumable_rows import Parts

    append = Parts.append

    def stopping(self: Parts, item: int, row: dict[str, Any]) -> None:
        if item == number:
            raise Stopped
        append(self, item, row)

    monkeypatch.setattr(Parts, "append", stopping)


def test_the_same_command_goes_on_where_the_former_one_stopped(
    tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    expected: list[Prediction],
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stopped):
            mge.predict(tiny_model, [str(photos)], output=tmp_path / "p.csv", batch_size=2)
    assert not (tmp_path / "p.csv").exists()
    capsys.readouterr()
    rest = mge.predict(tiny_model, [str(photos)], output=tmp_path / "p.csv")
    said = capsys.readouterr().err
    assert "resuming: 7 of 12 photos are already classified" in said
    assert "12 predictions written" in said
    assert [prediction.path for prediction in rest] == [wanted.path for wanted in expected[7:]]
    assert [row["path"] for row in read_csv(tmp_path / "p.csv")] == [wanted.path for wanted in expected]
    assert only(tmp_path) == ["p.csv"]


@pytest.mark.parametrize("what", ["model", "top"])
def test_what_was_begun_otherwise_is_done_anew(
    tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], what: str,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            mge.predict(tiny_model, [str(photos / "apple"), str(photos / "lime")], output=tmp_path / "p.csv")
    model = save_mixture(tmp_path / "other", build_tiny(), note="another") if what == "model" else tiny_model
    folders = [str(photos / "apple"), str(photos / "lime")]
    mge.predict(model, folders, output=tmp_path / "p.csv", top=2 if what == "top" else 3)
    said = capsys.readouterr().err
    assert "was started with another model or other options: starting over" in said
    assert "resuming" not in said
    assert len(read_csv(tmp_path / "p.csv")) == 8


def test_a_finished_file_is_replaced_by_the_next_command(
    tiny_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("apple", "plum"):
        mge.predict(tiny_model, [str(photos / folder)], output=tmp_path / "p.csv")
    assert {Path(row["path"]).parent.name for row in read_csv(tmp_path / "p.csv")} == {"plum"}
    assert "resuming" not in capsys.readouterr().err


def test_many_unreadable_photos_are_counted_and_some_named(
    tiny_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(15):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{number:02d}.jpg").write_bytes(b"no photo")
    write_photo(tmp_path / "photos" / "good.png", (200, 40, 40))
    assert main(["predict", str(tiny_model), str(tmp_path / "photos"), "--output", str(tmp_path / "p.csv")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mge: error: 15 of 16 photos could not be read (the others were classified): ")
    assert last.endswith("; and 5 more")
    assert len(read_csv(tmp_path / "p.csv")) == 1


def test_options_that_do_not_go_together_are_refused(
    tiny_model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(mge.ConfigError, match="format is 'parquet', which cannot be printed"):
        mge.predict(tiny_model, [str(photos)], format="parquet")
    with pytest.raises(mge.ConfigError, match="batch_size"):
        mge.predict(tiny_model, [str(photos)], batch_size=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(mge.ConfigError, match="2 processes share the photos"):
        mge.predict(tiny_model, [str(photos)])


# -------- real processes
def predict_command(model: Path, photos: Path, output: Path) -> list[str]:
    return ["mge", "predict", str(model), str(photos), "--output", str(output), "--batch-size", "1", "--no-fast"]


def await_rows(folder: Path, *, count: int) -> None:
    deadline = time.monotonic() + 240
    while sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl")) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_process_loses_nothing(tiny_model: Path, tmp_path: Path) -> None:
    photos, output = write_class_folders(tmp_path / "photos", per_class=100), tmp_path / "p.csv"
    command = [sys.executable, "-m", *predict_command(tiny_model, photos, output)]
    for count in (20, 120):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        await_rows(tmp_path / ".p.csv.parts", count=count)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not output.exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert "resuming: " in done.stderr
    paths = [row["path"] for row in read_csv(output)]
    assert paths == sorted(map(str, photos.rglob("*.png")))
    assert only(tmp_path) == ["p.csv", "photos"]


@pytest.mark.slow
def test_two_processes_share_the_photos_and_go_on_after_a_kill(tiny_model: Path, tmp_path: Path) -> None:
    photos, output = write_class_folders(tmp_path / "photos", per_class=100), tmp_path / "p.csv"
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [sys.executable, *run, *predict_command(tiny_model, photos, output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    await_rows(tmp_path / ".p.csv.parts", count=40)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for each in family:
        each.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=10)
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming: " in done.stderr
    assert [row["path"] for row in read_csv(output)] == sorted(map(str, photos.rglob("*.png")))
