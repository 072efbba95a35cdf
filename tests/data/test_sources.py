import json
from pathlib import Path

import pytest

from mge.config import DataConfig
from mge.data.sources import find_photos, read_photos
from mge.errors import ConfigError, DataError
from tests.photos import write_class_folders, write_photo

CONFIG = DataConfig()
RED = (200, 30, 30)


def test_class_folders_are_read_with_their_splits(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=3, splits=("Train", "valid", "TEST"))
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.class_names == ("apple", "lime", "plum")
    assert photos.source == "class folders"
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [9, 9, 9]


def test_the_last_folder_is_the_class_however_deep_it_lies(tmp_path: Path) -> None:
    for index in range(5):
        write_photo(tmp_path / "fruit" / "sour" / "lime" / f"{index}.JPG", RED)
        write_photo(tmp_path / "fruit" / "apple" / f"{index}.jpeg", RED)
    assert read_photos(tmp_path, config=CONFIG).class_names == ("apple", "lime")


def test_what_systems_leave_behind_is_no_class(tmp_path: Path) -> None:
    write_class_folders(tmp_path)
    for junk in (".ipynb_checkpoints", "__MACOSX", ".hidden"):
        write_photo(tmp_path / junk / "a.png", RED)
    (tmp_path / "apple" / ".DS_Store").write_bytes(b"x")
    write_photo(tmp_path / "apple" / "._0.png", RED)
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.class_names == ("apple", "lime", "plum")
    assert len(photos.records) == 24


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write_class_folders(tmp_path)
    (tmp_path / "apple" / "again").symlink_to(tmp_path)
    assert len(read_photos(tmp_path, config=CONFIG).records) == 24


def test_names_may_have_spaces_and_any_letters(tmp_path: Path) -> None:
    for label in ("Crème fraîche", "苹果 红"):
        for index in range(4):
            write_photo(tmp_path / label / f"ein Bild {index}.png", RED)
    assert set(read_photos(tmp_path, config=CONFIG).class_names) == {"Crème fraîche", "苹果 红"}


def test_two_folders_of_one_name_are_refused_with_both(tmp_path: Path) -> None:
    write_photo(tmp_path / "juice" / "apple" / "a.png", RED)
    write_photo(tmp_path / "fruit" / "apple" / "a.png", RED)
    with pytest.raises(DataError, match="fruit/apple and juice/apple"):
        read_photos(tmp_path, config=CONFIG)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_manifest_gives_labels_splits_and_boxes(tmp_path: Path, suffix: str) -> None:
    rows = []
    for number in range(6):
        write_photo(tmp_path / "photos" / f"{number}.png", RED)
        split = ("train", "train", "val", "test", "train", "train")[number]
        rows.append({"path": f"photos/{number}.png", "label": "ab"[number % 2], "split": split})
    rows[0] |= {"x1": "1", "y1": "2", "x2": "30", "y2": "20.5"}
    manifest = tmp_path / f"list{suffix}"
    columns = ["path", "label", "split", "x1", "y1", "x2", "y2"]
    if suffix == ".jsonl":
        manifest.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        mark = "," if suffix == ".csv" else "\t"
        lines = [mark.join(columns)] + [mark.join(row.get(column, "") for column in columns) for row in rows]
        manifest.write_text("\n".join(lines))
    photos = read_photos(manifest, config=CONFIG)
    assert photos.class_names == ("a", "b")
    assert [record.box_xyxy for record in photos.records[:2]] == [(1, 2, 30, 20.5), None]
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [4, 1, 1]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("path,name\na.png,x", "line 2 has no label"),
        ("path,label\nmissing.png,x", "line 2 names 'missing.png'"),
        ("path,label,split\na.png,x,train\na.png,y,holdout", "line 3 has the split 'holdout'"),
        ("path,label,x1,y1,x2,y2\na.png,x,5,5,2,9", "line 2 has the box"),
        ("path,label,x1,y1,x2,y2\na.png,x,5,five,9,9", "line 2 has the box"),
        ("path,label", "lists no photos"),
        ("path,label\na.png,x", "one class only"),
    ],
)
def test_a_wrong_manifest_names_its_line(tmp_path: Path, content: str, match: str) -> None:
    write_photo(tmp_path / "a.png", RED)
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=match):
        read_photos(tmp_path / "list.csv", config=CONFIG)


def test_lists_with_two_or_three_columns_are_read_and_named(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        lines = []
        for index in range(count):
            label = index % 2
            write_photo(tmp_path / split / "Fruit" / f"{label}" / f"{index}.jpg", RED)
            coarse = ", 0" if split == "train" else ""
            lines.append(f"{split}/Fruit/{label}/{index}.jpg, {label}{coarse}")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    (tmp_path / "classes.csv").write_text("Class Name (str),Class ID (int)\nGolden,0\nGranny,1\n")
    photos = read_photos(tmp_path, config=DataConfig(val_fraction=0))
    assert photos.class_names == ("Golden", "Granny")
    assert [record.label for record in photos.split("test")] == ["Golden", "Granny"]


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_missing_data_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_photos(tmp_path / name, config=CONFIG)


def test_empty_folders_one_class_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no photos"):
        read_photos(tmp_path, config=CONFIG)
    write_photo(tmp_path / "apple" / "a.png", RED)
    with pytest.raises(DataError, match="one class only"):
        read_photos(tmp_path, config=CONFIG)
    with pytest.raises(ConfigError, match=r"accepted: auto, .*folder"):
        read_photos(tmp_path, config=CONFIG, format="zip")
    write_photo(tmp_path / "loose.png", RED)
    with pytest.raises(DataError, match=r"loose\.png lies in no class folder"):
        read_photos(tmp_path, config=CONFIG)


def test_a_class_without_training_photos_is_named(tmp_path: Path) -> None:
    for split, labels in (("train", ("apple", "lime")), ("test", ("apple", "plum"))):
        for label in labels:
            write_photo(tmp_path / split / label / "a.png", RED)
    with pytest.raises(DataError, match="'plum'"):
        read_photos(tmp_path, config=CONFIG)


def test_photos_are_found_by_file_folder_and_pattern(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "notes.txt").write_text("no photo")
    assert len(find_photos([str(tmp_path)])) == 6
    assert len(find_photos([str(tmp_path / "apple" / "*.png"), str(tmp_path / "apple" / "0.png")])) == 2
    with pytest.raises(DataError, match="stands for no photo"):
        find_photos([str(tmp_path / "*.gif")])
