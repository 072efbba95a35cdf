import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mge
from mge.data.sources.frame import frame_to_manifest, is_frame
from mge.errors import ConfigError, DataError
from mge.tasks.train import name_data
from tests.photos import COLORS, write_photo

TINY: dict[str, Any] = {
    "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 1, "part_filters": 0, "epochs": 1,
    "batch_size": 4, "accelerator": "cpu",
}  # fmt: skip


@pytest.fixture
def frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """24 photos in the working directory: paths are relative, and there are columns that no manifest has."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(24):
        label = list(COLORS)[number % 3]
        write_photo(tmp_path / "photos" / f"{number}.png", COLORS[label], seed=number)
        rows.append({"Path": f"photos/{number}.png", "label": label, "group": number // 6, "price": 1.5})
    return pd.DataFrame(rows, index=[f"row {number}" for number in range(24)])


def test_a_run_keeps_the_frame_as_its_data_and_can_be_resumed_and_evaluated(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mge.train(frame, val_fraction=0.25, test_fraction=0.25, **TINY)
    assert run.folder == Path("runs/frame")
    manifest = tmp_path / "runs" / "frame" / "photos.jsonl"
    assert run.config()["data"] == str(manifest)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["path"] for row in rows] == [str(tmp_path / "photos" / f"{number}.png") for number in range(24)]
    assert rows[7] == {"path": str(tmp_path / "photos" / "7.png"), "label": "lime", "group": 1}
    monkeypatch.chdir("/")  # nothing depends on the working directory any more
    assert mge.train(resume=manifest.parent).summary() == run_summary(manifest.parent)
    assert mge.evaluate(manifest.parent)["num_photos"] == 6  # one of four groups


def run_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def test_missing_values_numbers_and_categories_are_written_as_what_they_mean(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame["label"] = pd.Categorical(frame["label"])
    frame["split"] = ["train", "val", None] * 8
    frame["x1"] = [1.0, np.nan, np.nan] * 8
    frame["y1"], frame["x2"], frame["y2"] = frame["x1"], frame["x1"] + 4, frame["x1"] + 5
    frame["group"] = ["bird" if group > 1 else None for group in frame["group"]]
    frame["Path"] = [tmp_path / path for path in frame["Path"]]
    rows = [json.loads(line) for line in frame_to_manifest(frame, folder=Path("/nowhere")).splitlines()]
    first, second = ({"path": str(tmp_path / "photos" / f"{number}.png")} for number in range(2))
    assert rows[0] == first | {"label": "apple", "split": "train", "x1": 1.0, "y1": 1.0, "x2": 5.0, "y2": 6.0}
    assert rows[1] == second | {"label": "lime", "split": "val"}
    assert rows[23]["group"] == "bird"
    assert "split" not in rows[2]


def test_labels_may_be_numbers(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame["label"] = np.arange(24) % 3
    rows = [json.loads(line) for line in frame_to_manifest(frame, folder=tmp_path).splitlines()]
    assert [row["label"] for row in rows[:4]] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda frame: frame.drop(columns="label"),
            "no column for the labels, among: Path, group, price; say which: --label-column NAME",
        ),
        (lambda frame: frame.assign(path="x"), "two columns 'path'"),
        (lambda frame: frame.assign(label=["x"] * 3 + [None] + ["y"] * 20), "row 3 of the data frame has no label"),
        (lambda frame: frame.assign(Path=["photos/0.png"] * 5 + ["gone.png"] * 19), "row 5 .* names 'gone.png'"),
        (lambda frame: frame.assign(split="holdout"), "row 0 .* split 'holdout'"),
        (lambda frame: frame.assign(x1=5, y1=5, x2=1, y2=9), "row 0 .* the box"),
        (lambda frame: frame.head(0), "holds no photos|lists no photos"),
        (lambda frame: frame.assign(label="one"), "one class only"),
        (lambda frame: frame.assign(parent=["a", "b"] * 12), "two coarser classes"),
    ],
)
def test_a_wrong_frame_is_refused_and_leaves_no_run(
    frame: pd.DataFrame,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    match: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=match):
        mge.train(change(frame), out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def test_what_is_neither_a_path_nor_a_frame_is_refused_by_its_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data is a builtins\.list; accepted: a path, hf:owner/name, or a pandas"):
        mge.train([tmp_path], **TINY)  # type: ignore[arg-type]
    assert not is_frame({"path": []})


def test_pandas_is_not_imported_by_mge_itself() -> None:
    script = (
        "import sys, mge\nfrom mge.data.sources.frame import is_frame\n"
        "assert not is_frame('photos')\ntry: mge.train('/nowhere', backbone='test_resnet', pretrained=False)\n"
        "except mge.DataError: pass\nassert 'pandas' not in sys.modules, 'pandas'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd="/tmp")


def test_data_on_disk_are_called_by_their_absolute_path_and_others_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_data("photos") == name_data(Path("photos")) == str(tmp_path / "photos")
    assert [name_data(name) for name in ("beetles", "hf:someone/birds")] == ["beetles", "hf:someone/birds"]
