"""Columns that a person names hold for a run and for what is done with it later."""

from pathlib import Path

import pandas as pd
import pytest

import mge
from mge.errors import ConfigError
from tests.photos import write_class_folders
from tests.tiny import TINY


def write_list(folder: Path, head: str) -> Path:
    rows = [f"{file.relative_to(folder)},{file.parent.name},bird" for file in sorted(folder.rglob("*.png"))]
    (folder / "list.csv").write_text("\n".join([head, *rows]))
    return folder / "list.csv"


def test_columns_that_a_person_names_hold_for_training_evaluation_and_other_data(tmp_path: Path) -> None:
    data = write_list(write_class_folders(tmp_path / "a", per_class=6), "photograph,breed,label")
    options = {**TINY, "epochs": 1, "experts": 1, "part_filters": 0}
    run = mge.train(data, out=tmp_path / "run", image_column="photograph", label_column="breed", **options)
    assert run.config()["label_column"] == "breed"
    assert mge.evaluate(run.folder, report=False)["data"] == "a"
    with pytest.raises(ConfigError, match="leave them out"):
        mge.evaluate(run.folder, label_column="breed")
    other = write_list(write_class_folders(tmp_path / "b", per_class=1, seed=50), "image_id,variety,label")
    assert mge.evaluate(run.folder, other, label_column="variety", report=False)["data"] == "b"


def test_columns_of_a_data_frame_are_named_like_those_of_a_file(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "a", per_class=6)
    files = sorted(folder.rglob("*.png"))
    frame = pd.DataFrame(
        {"photograph": map(str, files), "breed": [file.parent.name for file in files], "label": "bird"}
    )
    options = {**TINY, "epochs": 1, "experts": 1, "part_filters": 0}
    run = mge.train(frame, out=tmp_path / "run", image_column="photograph", label_column="breed", **options)
    assert run.config()["label_column"] is None  # the run's own list has our names
    assert mge.evaluate(run.folder, report=False)["data"] == "run"
