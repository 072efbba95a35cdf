"""Labels, groups and splits mean the same wherever they stand: twelve odd values, six sources, one table."""

import csv
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from mge.config import DataConfig
from mge.data.records import PhotoSet
from mge.data.sources import read_photos
from mge.data.sources.frame import frame_to_manifest
from mge.errors import DataError
from tests.data.test_hub import fill

WHOLE = DataConfig(val_fraction=0, test_fraction=0)
KAEFER = "K\u00e4fer"

# What is written as label and as group, how the split is written, and what each is read as.
ODD: list[tuple[object, str, str, str, str]] = [
    ("wren", "train", "wren", "wren", "train"),
    ("007", "Train", "007", "007", "train"),
    (7, "TRAINING", "7", "7", "train"),
    (True, "Training Set", "True", "True", "train"),
    (1.0, "train", "1.0", "1.0", "train"),
    ("barn\u00a0owl", "train", "barn owl", "barn owl", "train"),
    ("tawny\u200b  owl", "valid", "tawny owl", "tawny owl", "val"),
    (unicodedata.normalize("NFD", KAEFER), "Validation", KAEFER, KAEFER, "val"),
    (" robin ", "dev", "robin", "robin", "val"),
    ("NA", " test ", "NA", "", "test"),
    ("a,b;c", "Testing", "a,b;c", "a,b;c", "test"),
    ('"quoted"', "test_set", '"quoted"', '"quoted"', "test"),
]

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def write_class_folders(rows: Rows, folder: Path) -> Path:
    for row in rows:
        file = folder / "folders" / str(row["split"]).strip() / str(row["label"]) / Path(row["path"]).name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder / "folders"


def write_csv(rows: Rows, folder: Path) -> Path:
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "list.csv"


def write_jsonl(rows: Rows, folder: Path) -> Path:
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "list.jsonl"


def write_parquet(rows: Rows, folder: Path) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "list.parquet")
    return folder / "list.parquet"


def write_hub(rows: Rows, folder: Path) -> str:
    with_bytes = [{**row, "path": b"photo " + row["path"].encode()} for row in rows]
    fill(folder / "cache", "nobody/birds", {"train": datasets.Dataset.from_list(with_bytes)})
    return "hf:nobody/birds"


def write_frame(rows: Rows, folder: Path) -> Path:
    (folder / "frame.jsonl").write_text(frame_to_manifest(pd.DataFrame(rows), folder=folder))
    return folder / "frame.jsonl"


SOURCES: list[Callable[[Rows, Path], str | Path]] = [
    write_class_folders, write_csv, write_jsonl, write_parquet, write_hub, write_frame,
]  # fmt: skip


def rows_of(values: list[tuple[object, str, str, str, str]], folder: Path) -> Rows:
    rows = []
    for number, (value, split, *_) in enumerate(values):
        (folder / f"{number}.jpg").touch()
        rows.append({"path": f"{number}.jpg", "label": value, "group": value, "split": split})
    return rows


def read(data: str | Path) -> PhotoSet:
    return read_photos(data, config=WHOLE, is_for_training=False)


@pytest.mark.parametrize("write", SOURCES)
@pytest.mark.parametrize("kind", [str, int, bool, float])
def test_labels_groups_and_splits_mean_the_same_in_every_source(
    write: Callable[[Rows, Path], str | Path], kind: type, tmp_path: Path
) -> None:
    values = [each for each in ODD if type(each[0]) is kind]  # a column of a table has one type
    photos = read(write(rows_of(values, tmp_path), tmp_path))
    has_groups = write is not write_class_folders
    said = {(record.label, record.group, record.split) for record in photos.records}
    assert said == {(label, group if has_groups else "", split) for _, _, label, group, split in values}
    assert len(photos.records) == len(values)
    assert any("'NA' (1 photos)" in note for note in photos.notes) == (kind is str)
    assert any("'NA' as group (1 times)" in note for note in photos.notes) == (kind is str and has_groups)


@pytest.mark.parametrize("write", SOURCES[1:])
@pytest.mark.parametrize("nothing", [None, float("nan"), ""])
def test_no_group_is_no_group_and_no_label_is_refused_in_every_source(
    write: Callable[[Rows, Path], str | Path], nothing: object, tmp_path: Path
) -> None:
    rows = rows_of(ODD[:2], tmp_path)
    for row in rows:
        row |= {"group": nothing, "split": "train", "parent": nothing}
    photos = read(write(rows, tmp_path))
    assert [record.group for record in photos.records] == ["", ""]
    assert photos.parents == {}
    (tmp_path / "again").mkdir()
    if write is write_csv and nothing != "":  # None is an empty value, and NaN the text nan, which is noted
        return
    rows = [{**row, "path": str(tmp_path / row["path"])} for row in rows]
    rows[1]["label"] = nothing if write is not write_parquet or nothing == "" else None
    with pytest.raises(DataError, match="has no label; add one, or remove the row"):
        read(write(rows, tmp_path / "again") if write is not write_hub else write_again(rows, tmp_path))


def write_again(rows: Rows, folder: Path) -> str:
    rows[1]["label"] = rows[1]["label"] or None
    with_bytes = [{**row, "path": b"photo", "label": None if row["label"] != row["label"] else row["label"]}
                  for row in rows]  # fmt: skip
    fill(folder / "cache", "nobody/others", {"train": datasets.Dataset.from_list(with_bytes)})
    return "hf:nobody/others"
