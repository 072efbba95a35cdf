import json
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image

from mge.config import DataConfig
from mge.data.dataset import PhotoDataset
from mge.data.loader import epoch_batches, load_batches
from mge.data.photo import open_photo
from mge.data.records import PhotoSet
from mge.data.sources import read_photos
from mge.errors import DataError, MissingExtraError
from tests.photos import write_photo
from tests.tables import as_dataset, photo_bytes, rows, write_parquet

CONFIG = DataConfig(cache="no", jitter=0.2)
WHOLE = DataConfig(val_fraction=0, test_fraction=0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards for training, one for validation, one for testing."""
    folder = tmp_path / "my [photos]"
    for name, per_class, seed in (
        ("data/train-00000-of-00002", 4, 0),
        ("data/train-00001-of-00002", 2, 1),
        ("data/validation-00000-of-00001", 1, 2),
        ("data/test-00000-of-00001", 2, 3),
    ):
        write_parquet(folder / f"{name}.parquet", rows(per_class, seed=seed))
    return folder


def contents(photos: PhotoSet) -> list[bytes]:
    return [
        record.content if isinstance(record.content, bytes) else record.path.read_bytes() for record in photos.records
    ]


def test_shards_are_read_with_their_splits_and_each_row_can_be_found_again(shards: Path) -> None:
    photos = read_photos(shards, config=CONFIG)
    assert photos.class_names == ("apple", "lime", "plum")
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [18, 3, 6]
    assert photos.split("train")[13].path == shards / "data" / "train-00001-of-00002.parquet#1"
    assert photos.split("train")[13].content == photo_bytes("lime", seed=1001)
    assert photos.name == "my [photos]"


def test_a_single_file_and_a_folder_of_split_folders_are_read(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "birds.parquet", rows(5))
    photos = read_photos(file, config=DataConfig(test_fraction=0.2, val_fraction=0.25))
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [9, 3, 3]
    assert photos.name == "birds"
    for split in ("train", "test"):
        write_parquet(tmp_path / "parts" / split / "0.parquet", rows(2, seed=len(split)))
    assert len(read_photos(tmp_path / "parts", config=CONFIG).split("test")) == 6


@pytest.mark.parametrize("kind", ["parquet", "arrow", "saved", "saved dict"])
def test_every_form_gives_the_same_photos(tmp_path: Path, kind: str) -> None:
    columns = rows(3)
    dataset = as_dataset(columns, names=["plum", "unused", "lime", "apple"])
    data = tmp_path / "data.parquet"
    if kind == "parquet":
        dataset.to_parquet(data)
    elif kind == "arrow":
        data = data.with_suffix(".arrow")
        with pyarrow.OSFile(str(data), "wb") as file, pyarrow.ipc.new_stream(file, dataset.data.schema) as writer:
            writer.write_table(dataset.data.table)
    else:
        saved = dataset if kind == "saved" else datasets.DatasetDict({"train": dataset, "test": dataset})
        data = tmp_path / "saved"
        saved.save_to_disk(data)
    photos = read_photos(data, config=WHOLE)
    assert photos.class_names == ("plum", "lime", "apple")  # as the ClassLabel has them
    assert [record.label for record in photos.split("train")] == columns["label"]
    assert contents(photos)[:9] == [photo["bytes"] for photo in columns["image"]]
    assert len(photos.split("test")) == (9 if kind == "saved dict" else 0)


def test_labels_are_matched_by_name_where_shards_number_them_differently(tmp_path: Path) -> None:
    as_dataset(rows(2), names=["apple", "lime", "plum"]).to_parquet(tmp_path / "train-0.parquet")
    as_dataset(rows(2, seed=1), names=["plum", "apple", "lime"]).to_parquet(tmp_path / "train-1.parquet")
    as_dataset(rows(1, seed=2), names=["lime", "plum", "apple"]).to_parquet(tmp_path / "test-0.parquet")
    photos = read_photos(tmp_path, config=WHOLE)
    assert photos.class_names == ("apple", "lime", "plum")
    for record in photos.records:
        red, green, blue = np.asarray(open_photo(record.content)).mean((0, 1))
        assert record.label == ("apple" if red > 150 else "lime" if green > 150 else "plum"), (red, green, blue)


@pytest.mark.parametrize("form", ["bytes", "struct"])
@pytest.mark.parametrize("label", ["text", "number"])
def test_columns_of_plain_types_are_taken_too(tmp_path: Path, form: str, label: str) -> None:
    columns = rows(4)
    photos = columns["image"]
    labels = (
        columns["label"] if label == "text" else [{"apple": 10, "lime": 9, "plum": 1}[it] for it in columns["label"]]
    )
    images = photos if form == "struct" else [photo["bytes"] for photo in photos]
    file = write_parquet(tmp_path / "a.parquet", {"id": ["x"] * 12, "img": images, "category": labels})
    found = read_photos(file, config=WHOLE)
    assert found.class_names == (("apple", "lime", "plum") if label == "text" else ("1", "9", "10"))
    assert contents(found) == [photo["bytes"] for photo in photos]


def test_a_fine_label_has_its_coarse_label_for_a_parent_and_groups_are_read(tmp_path: Path) -> None:
    columns = rows(4)
    columns["fine_label"] = columns.pop("label")
    columns["coarse_label"] = [{"apple": "round", "lime": "round", "plum": "plum"}[it] for it in columns["fine_label"]]
    columns["group"] = [number // 6 for number in range(12)]
    photos = read_photos(write_parquet(tmp_path / "a.parquet", columns), config=DataConfig(test_fraction=0.5))
    assert photos.parents == {"apple": "round", "lime": "round"}
    assert {record.group for record in photos.split("test")} != {record.group for record in photos.split("train")}
    assert len(photos.split("test")) == 6


def test_two_columns_that_could_hold_the_photos_or_the_classes_are_listed(tmp_path: Path) -> None:
    columns = rows(2)
    two = {"left": columns["image"], "right": columns["image"], "label": columns["label"]}
    with pytest.raises(
        DataError,
        match=r"several columns .* photos, .*left \(struct of bytes, path\), right .*choose one with --image-column",
    ):
        read_photos(write_parquet(tmp_path / "a.parquet", two), config=CONFIG)
    two = {"image": columns["image"], "species": columns["label"], "category": columns["label"]}
    with pytest.raises(DataError, match=r"several columns .* labels.*species \(string\), category \(string\)"):
        read_photos(write_parquet(tmp_path / "b.parquet", two), config=CONFIG)
    with pytest.raises(
        DataError, match=r"no column for the labels.* image .*caption \(string\); choose one with --label-column"
    ):
        read_photos(
            write_parquet(tmp_path / "c.parquet", {"image": columns["image"], "caption": ["x"] * 6}), config=CONFIG
        )
    with pytest.raises(DataError, match="no column for the photos"):
        read_photos(write_parquet(tmp_path / "d.parquet", {"label": columns["label"]}), config=CONFIG)
    # The name `image` or `label` decides.
    named = {"image": columns["image"], "mask": columns["image"], "label": columns["label"], "class": ["x"] * 6}
    assert len(read_photos(write_parquet(tmp_path / "e.parquet", named), config=CONFIG).class_names) == 3


def test_a_split_without_labels_and_one_of_another_name_are_left_out_with_a_note(tmp_path: Path) -> None:
    secret = {**rows(1), "label": [None] * 3}
    names = ["apple", "lime", "plum"]
    datasets.DatasetDict(
        {
            "train": as_dataset(rows(3), names=names),
            "test": as_dataset(secret, names=names),
            "extra": as_dataset(rows(1), names=names),
        }
    ).save_to_disk(tmp_path / "saved")
    photos = read_photos(tmp_path / "saved", config=CONFIG)
    assert len(photos.records) == 9
    assert len(photos.notes) == 3  # and that none is left to validate and test on
    assert any("'test'" in note and "no labels" in note for note in photos.notes)
    assert any("'extra'" in note for note in photos.notes)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("label", None, r"a\.parquet#4 has no label"),
        ("image", None, r"a\.parquet#4 has no photo"),
        ("image", {"bytes": None, "path": "gone.png"}, r"a\.parquet#4 .*'gone\.png', which does not exist"),
    ],
)
def test_a_row_without_its_photo_or_class_is_named(
    tmp_path: Path, column: str, value: dict[str, Any] | None, match: str
) -> None:
    columns = rows(3)
    columns[column][4] = value
    with pytest.raises(DataError, match=match):
        read_photos(write_parquet(tmp_path / "a.parquet", columns), config=CONFIG)


def test_photos_that_lie_beside_the_table_are_read_as_files(tmp_path: Path) -> None:
    columns = rows(2)
    relative = write_photo(tmp_path / "photos" / "a.png", (1, 2, 3))
    absolute = write_photo(tmp_path / "elsewhere" / "b.png", (1, 2, 3))
    columns["image"][0] = {"bytes": None, "path": "photos/a.png"}
    columns["image"][1] = {"bytes": None, "path": str(absolute)}
    photos = read_photos(write_parquet(tmp_path / "a.parquet", columns), config=WHOLE)
    assert [record.path for record in photos.records[:2]] == [relative, absolute]
    assert photos.records[2].content == columns["image"][2]["bytes"]


def test_damaged_files_and_shards_of_no_clear_split_are_refused(tmp_path: Path, shards: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but no more")
    (tmp_path / "bad.arrow").write_bytes(b"ARROW1 but no more")
    for name in ("bad.parquet", "bad.arrow"):
        with pytest.raises(DataError, match=f"{re.escape(name)} cannot be read"):
            read_photos(tmp_path / name, config=CONFIG)
    write_parquet(shards / "more.parquet", rows(1))
    with pytest.raises(DataError, match=r"others without, such as more\.parquet"):
        read_photos(shards, config=CONFIG)


def test_a_row_that_is_no_photo_is_named_when_it_is_opened(tmp_path: Path) -> None:
    columns = rows(2)
    columns["image"][2]["bytes"] = b"no photo"
    photos = read_photos(write_parquet(tmp_path / "a.parquet", columns), config=WHOLE)
    dataset = PhotoDataset(photos.records, photos.class_names, side=32, config=CONFIG, train=False)
    with pytest.raises(DataError, match=r"a\.parquet#2 is not a photo"):
        dataset[0, 2]


def test_a_table_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    for per_class in (2, 3):
        write_parquet(tmp_path / "a.parquet", rows(per_class))
        assert len(read_photos(tmp_path / "a.parquet", config=CONFIG).records) == 3 * per_class


def test_class_folders_beside_a_table_deeper_down_stay_class_folders(tmp_path: Path) -> None:
    for label in ("apple", "lime"):
        for number in range(3):
            write_photo(tmp_path / label / f"{number}.png", (9, 9, 9))
    write_parquet(tmp_path / "apple" / "features.parquet", {"x": [1]})
    assert read_photos(tmp_path, config=CONFIG).source.startswith("class folders")


def test_two_epochs_give_the_same_pixels_with_no_and_with_two_workers(shards: Path) -> None:
    photos = read_photos(shards, config=CONFIG)
    dataset = PhotoDataset(photos.split("train"), photos.class_names, side=32, config=CONFIG, train=True, seed=1)
    for epoch in range(2):
        batches = epoch_batches(len(dataset), batch_size=4, seed=0, epoch=epoch, shuffle=True, drop_last=True)
        alone, helped = (list(load_batches(dataset, batches, epoch=epoch, workers=workers)) for workers in (0, 2))
        rest = list(load_batches(dataset, batches[2:], epoch=epoch, workers=0))
        for one, other in zip([*alone, *alone[2:]], [*helped, *rest], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_photos_of_a_table_and_of_files_give_the_same_pixels(shards: Path, tmp_path: Path) -> None:
    photos = read_photos(shards, config=CONFIG)
    lines = []
    for number, record in enumerate(photos.records):
        assert isinstance(record.content, bytes)
        (tmp_path / f"{number}.png").write_bytes(record.content)
        lines.append(json.dumps({"path": f"{number}.png", "label": record.label, "split": record.split}))
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    as_files = read_photos(tmp_path / "list.jsonl", config=CONFIG)
    one, other = (
        PhotoDataset(it.split("train"), it.class_names, side=32, config=CONFIG, train=True) for it in (photos, as_files)
    )
    assert all(torch.equal(one[1, index].image, other[1, index].image) for index in range(len(one)))


def test_records_are_pickled_without_their_photos(tmp_path: Path) -> None:
    columns = rows(20)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for photo in columns["image"]:
        photo["bytes"] = (tmp_path / "noise.png").read_bytes()
    photos = read_photos(write_parquet(tmp_path / "a.parquet", columns), config=WHOLE)
    pickled = pickle.dumps(photos.records)
    assert len(columns["image"][0]["bytes"]) > 100_000
    assert len(pickled) < 20_000
    assert [record.content for record in pickle.loads(pickled)] == [photo["bytes"] for photo in columns["image"]]


def test_tables_on_disk_ask_no_network(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_dataset(rows(2)).save_to_disk(tmp_path / "saved")
    asked: list[object] = []
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: asked.append(host))
    for data in (shards, tmp_path / "saved"):
        assert read_photos(data, config=CONFIG).records[0].content
    assert asked == []


def test_without_the_extra_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", rows(2))
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    for data in (file, "hf:owner/name"):
        with pytest.raises(MissingExtraError, match=r"pip install 'mge\[tables\]'"):
            read_photos(data, config=CONFIG)


def test_no_other_data_import_the_extra(tmp_path: Path) -> None:
    write_photo(tmp_path / "apple" / "a.png", (9, 9, 9))
    write_photo(tmp_path / "lime" / "a.png", (9, 9, 9))
    script = (
        "import sys\nfrom mge.config import DataConfig\nfrom mge.data.sources import read_photos\n"
        f"read_photos({str(tmp_path)!r}, config=DataConfig())\n"
        "assert not {'datasets', 'pyarrow', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
