import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mge.config import DataConfig
from mge.data.sources import find_photos, read_photos
from mge.data.sources.containers import find_all_photos
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
        ("path,name\na.png,x", "has no column for the labels, among: path, name; choose one with --label-column NAME"),
        ("path,label\na.png,", "line 2 has no label; add one"),
        ("path,label\nmissing.png,x", "line 2 names 'missing.png'"),
        ("path,label,split\na.png,x,train\na.png,y,holdout", "line 3 has the split 'holdout'"),
        ("path,label,x1,y1,x2,y2\na.png,x,5,5,2,9", "line 2 has the box"),
        ("path,label,x1,y1,x2,y2\na.png,x,5,five,9,9", "line 2 has the box"),
        ("path,label", "lists no photos"),
        ("path,label\na.png,x", "only one class"),
        (
            "path,label\na.png,beetle, ringed",
            "line 2 has 3 values for 2 columns; quote values that contain a comma",
        ),
        ('path,label\na.png,"x\na.png,y', "line 3 cannot be read: unexpected end of data; is a quote missing"),
        ('path,label\na.png,"x"y\n', "line 2 cannot be read: .*; is a quote missing"),
        ("path,label, Label\na.png,x,y", "has two columns 'label', among: path, label, Label; rename or remove one"),
    ],
)
def test_a_wrong_manifest_names_its_line(tmp_path: Path, content: str, match: str) -> None:
    write_photo(tmp_path / "a.png", RED)
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=match):
        read_photos(tmp_path / "list.csv", config=CONFIG)


@pytest.mark.parametrize("value", ['["x"]', '{"name": "x"}'])
def test_a_list_is_no_label(tmp_path: Path, value: str) -> None:
    write_photo(tmp_path / "a.png", RED)
    (tmp_path / "list.jsonl").write_text(f'{{"path": "a.png", "label": {value}, "more": [1]}}')
    with pytest.raises(DataError, match=r"line 1 has a (list|dict) for label; expected text or a number"):
        read_photos(tmp_path / "list.jsonl", config=CONFIG)


def test_a_manifests_empty_values_at_the_end_of_a_row_are_none(tmp_path: Path) -> None:
    for name in "ab":
        write_photo(tmp_path / f"{name}.png", RED)
    (tmp_path / "list.csv").write_text("path,label\na.png,a,,\n\nb.png,b\n")
    assert read_photos(tmp_path / "list.csv", config=CONFIG).class_names == ("a", "b")


def test_a_manifest_gives_groups_and_coarser_classes(tmp_path: Path) -> None:
    lines = ["path,label,group,parent"]
    for number in range(8):
        write_photo(tmp_path / f"{number}.png", RED)
        label = ("granny", "golden", "leek", "kiwi")[number % 4]
        parent = {"granny": "apple", "golden": "apple", "kiwi": "kiwi"}.get(label, "")
        lines.append(f"{number}.png,{label},{'' if number == 2 else f'bird {number % 4}'},{parent}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    photos = read_photos(tmp_path / "list.csv", config=DataConfig(test_fraction=0.5))
    assert photos.parents == {"granny": "apple", "golden": "apple"}
    assert [record.group for record in photos.records[:4]] == ["bird 0", "bird 1", "", "bird 3"]
    assert not any("more than one split" in note for note in photos.notes)
    (tmp_path / "list.csv").write_text("\n".join([*lines, "0.png,granny,,pear"]))
    with pytest.raises(DataError, match="'granny' into two coarser classes"):
        read_photos(tmp_path / "list.csv", config=CONFIG)


def test_photos_that_are_too_few_to_hold_any_out_are_noted_unless_none_was_wanted(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (note,) = read_photos(tmp_path, config=DataConfig(), seed=0).notes
    assert note.startswith("No photos are left for validation and test: all metrics are measured on training photos")
    assert read_photos(tmp_path, config=DataConfig(val_fraction=0, test_fraction=0), seed=0).notes == ()
    assert read_photos(tmp_path, config=DataConfig(), seed=0, is_for_training=False).notes == ()


def test_splits_that_cut_a_group_are_noted_with_their_number(tmp_path: Path) -> None:
    lines = ["path,label,split,group"]
    for number in range(8):
        write_photo(tmp_path / f"{number}.png", RED)
        lines.append(f"{number}.png,{'ab'[number % 2]},{'train' if number < 4 else 'test'},bird {number % 4}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    *_, note = read_photos(tmp_path / "list.csv", config=CONFIG).notes
    assert note.startswith("4 groups of ")
    assert "'bird 0'" in note


def test_a_manifests_paths_may_be_absolute_or_lead_out_of_its_folder(tmp_path: Path) -> None:
    inside = write_photo(tmp_path / "lists" / "a.png", RED)
    outside = write_photo(tmp_path / "photos" / "b.png", RED)
    manifest = tmp_path / "lists" / "list.csv"
    manifest.write_text(f"path,label\na.png,a\n../photos/b.png,b\n{outside},b\n")
    photos = read_photos(manifest, config=DataConfig(test_fraction=0, val_fraction=0))
    assert [record.path.resolve() for record in photos.records] == [inside, outside]  # one of them twice


def test_a_class_may_be_called_by_the_number_0(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        write_photo(tmp_path / f"{number}.png", RED)
        rows.append(json.dumps({"path": f"{number}.png", "label": number % 2}))
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    assert read_photos(tmp_path / "list.jsonl", config=CONFIG).class_names == ("0", "1")


@pytest.mark.parametrize("has_names", [True, False])
def test_the_third_column_of_lists_is_the_coarser_class(tmp_path: Path, has_names: bool) -> None:
    lines = []
    for number, coarse in enumerate((0, 0, 1)):
        write_photo(tmp_path / f"{number}.jpg", RED)
        lines.append(f"{number}.jpg, {number}, {coarse}")
    (tmp_path / "train.txt").write_text("\n".join(lines))
    if has_names:
        header = "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)\n"
        (tmp_path / "classes.csv").write_text(header + "Golden,0,Apple,0\nGranny,1,Apple,0\nKiwi,2,Kiwi,1\n")
    photos = read_photos(tmp_path, config=DataConfig(val_fraction=0))
    named, numbered = {"Golden": "Apple", "Granny": "Apple"}, {"0": "coarse 0", "1": "coarse 0", "2": "coarse 1"}
    assert photos.parents == (named if has_names else numbered)


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


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("a.jpg", "line 1 is 'a.jpg'; expected: path, label or"),
        ("a.jpg,", "line 1 is 'a.jpg,'; expected: path, label or"),
        ("b.jpg, 0", "line 1 names 'b.jpg', which does not exist below"),
        ("../a.jpg, 0", r"line 1 names '\.\./a\.jpg', which is not a file below .*; accepted: paths inside it"),
        ("x" * 5000 + ", 0", "which does not exist below"),
        (b"\xe4.jpg, 0", r"train\.txt is not text in UTF-8: .* at byte 0"),
    ],
)
def test_a_wrong_list_names_its_line(tmp_path: Path, line: str | bytes, match: str) -> None:
    for folder in (tmp_path, tmp_path / "lists"):
        write_photo(folder / "a.jpg", RED)
    (tmp_path / "lists" / "train.txt").write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(DataError, match=match):
        read_photos(tmp_path / "lists", config=CONFIG)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_missing_data_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_photos(tmp_path / name, config=CONFIG)


def test_a_data_frame_that_shall_be_checked_has_to_be_a_file() -> None:
    with pytest.raises(ConfigError, match=r"^data is a DataFrame; accepted: a path, .*frame\.to_csv\('photos\.csv'"):
        read_photos(pd.DataFrame({"path": ["a.jpg"], "label": ["a"]}), config=CONFIG)  # type: ignore[arg-type]


def test_what_the_system_does_not_let_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[Callable[[str], object]] = [
        lambda name: read_photos(name, config=CONFIG), lambda name: find_photos([name]),
        lambda name: find_all_photos([name]),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(DataError, match=r"/xxx.* cannot be read: File name too long"):
            read(str(tmp_path / ("x" * 5000)))
    file = tmp_path / "list.csv"
    file.write_text("path,label\n")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for read in (readers[0], readers[2]):
        with pytest.raises(DataError, match=r"list\.csv cannot be read: Permission denied; make it readable"):
            read(str(file))


def test_empty_folders_one_class_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains no photos"):
        read_photos(tmp_path, config=CONFIG)
    write_photo(tmp_path / "apple" / "a.png", RED)
    with pytest.raises(DataError, match="only one class"):
        read_photos(tmp_path, config=CONFIG)
    with pytest.raises(ConfigError, match=r"accepted: auto, .*folder"):
        read_photos(tmp_path, config=CONFIG, format="zip")
    write_photo(tmp_path / "loose.png", RED)
    with pytest.raises(DataError, match=r"loose\.png is not in a class folder; .* or give a manifest"):
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
    with pytest.raises(DataError, match="no photo found at"):
        find_photos([str(tmp_path / "*.gif")])
