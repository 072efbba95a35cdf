"""Lists and folders as other programs and people make them: read as they are meant, or refused with the cause."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mge.config import DataConfig
from mge.data.records import PhotoSet
from mge.data.sources import explain_reading, read_photos
from mge.errors import ConfigError, DataError

WHOLE = DataConfig(val_fraction=0, test_fraction=0)
NAMES = ("wren", "robin")
ROWS = [(f"img/{name}_{number}.jpg", name) for name in NAMES for number in range(3)]
RIGHT = {"wren": 3, "robin": 3}


def touch(folder: Path, names: Iterable[str]) -> None:
    """Files that are photos by their names; no reader opens a photo."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def class_folders(folder: Path, *homes: str, count: int = 3) -> None:
    for home in homes or (".",):
        touch(folder / home, (f"{name}/{number}.jpg" for name in NAMES for number in range(count)))


def lines(rows: Iterable[tuple[str, ...]], *, mark: str = ",", head: str = "path,label", end: str = "\n") -> str:
    return "".join(mark.join(row) + end for row in [tuple(head.split(",")), *rows])


def labels(photos: PhotoSet) -> dict[str, int]:
    return dict(Counter(record.label for record in photos.records))


def splits(photos: PhotoSet) -> dict[str | None, int]:
    return dict(Counter(record.split for record in photos.records))


def read(data: Path, **options: Any) -> PhotoSet:  # noqa: ANN401
    return read_photos(data, config=DataConfig(val_fraction=0, test_fraction=0, **options), is_for_training=False)


# Dialects of CSV ----------------------------------------------------------------------------------------------------

DIALECTS: dict[str, bytes] = {
    "semicolons, as Excel where the decimal comma rules": lines(ROWS, mark=";").encode(),
    "semicolons, a mark and Windows' ends": lines(ROWS, mark=";", end="\r\n").encode("utf-8-sig"),
    "Excel's sep=; before them": ("sep=;\r\n" + lines(ROWS, mark=";", end="\r\n")).encode("utf-8-sig"),
    "sep=, in quotes": ('"sep=,"\r\n' + lines(ROWS, end="\r\n")).encode(),
    "tabs in a .csv": lines(ROWS, mark="\t").encode(),
    "bars": lines(ROWS, mark="|").encode(),
    "Excel's Unicode text": lines(ROWS, mark="\t").encode("utf-16"),
    "UTF-16 of the other order": b"\xfe\xff" + lines(ROWS, mark=";").encode("utf-16-be"),
    "quotes behind a space": "".join(f'"{path}", "{label}"\n' for path, label in [("path", "label"), *ROWS]).encode(),
    "quotes behind some spaces": lines([(p, f' "{n}"' if i % 2 else n) for i, (p, n) in enumerate(ROWS)]).encode(),
    "rows without a value": (lines(ROWS) + ",\n , \n\n").encode(),
    "rows without a value between": lines([*ROWS[:2], ("", ""), *ROWS[2:]]).encode(),
    "an index without a name": lines([(str(i), *row) for i, row in enumerate(ROWS)], head=",path,label").encode(),
    "an old Mac's ends": lines(ROWS, end="\r").encode(),
    "a header behind blank lines": ("\n \n" + lines(ROWS)).encode(),
    "two files that were joined": (lines(ROWS[:3]) + lines(ROWS[3:])).encode(),
    "two files with marks that were joined": lines(ROWS[:3]).encode("utf-8-sig") + lines(ROWS[3:]).encode("utf-8-sig"),
    "a header with what cannot be seen": lines(ROWS, head="path\u00a0,\u200blabel").encode(),
    "other columns, with commas in them": lines([(*r, '"x, y; z"') for r in ROWS], head="path,label,note").encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_a_list_is_read_in_any_dialect(name: str, suffix: str, tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    (tmp_path / f"list{suffix}").write_bytes(DIALECTS[name])
    assert labels(read(tmp_path / f"list{suffix}")) == RIGHT


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            lines(ROWS).partition("\n")[2].encode(),
            "starts with the row img/wren_0.jpg,wren, which was read",
        ),
        (
            "path,label\nimg/wren_0.jpg,Zaunkönig\n".encode("cp1252"),
            "not text in UTF-8: .* at byte 31; save it as",
        ),
        (
            b"name;path\nx;img/wren_0.jpg\n",
            "no column for the labels, among: name, path; choose one with --label-column",
        ),
        (
            b"path,class,species\nimg/wren_0.jpg,1,2\n",
            "several columns that may hold the labels, among: path, class",
        ),
        (b"path,label\nimg/wren_0.jpg,a;b,c\n", "line 2 has 3 values for 2 columns; quote values that contain a comma"),
        (
            b"path;label\nimg/wren_0.jpg;a;b\n",
            "line 2 has 3 values for 2 columns; quote values that contain a semicolon",
        ),
        (b"path,label\n,wren\n", "line 2 has no photo; add one, or remove the row"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(content: bytes, match: str, tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=match):
        read(tmp_path / "list.csv")


# Columns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    ["image_id,label", "filename,class", "File Name,Species", "id,category", "img-path,CLASS_NAME", "image,target",
     "file,choice"],
)  # fmt: skip
def test_columns_that_are_called_otherwise_are_found_where_it_is_plain(head: str, tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    (tmp_path / "list.csv").write_text(lines(ROWS, head=head))
    assert labels(read(tmp_path / "list.csv")) == RIGHT


def test_columns_that_a_person_names_are_taken_in_place_of_others(tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    rows = [(path, "elsewhere.jpg", "bird", name, "test") for path, name in ROWS]
    (tmp_path / "list.csv").write_text(lines(rows, head="photo_of_it,path,label,breed,split"))
    photos = read(tmp_path / "list.csv", image_column="photo_of_it", label_column="Breed")
    assert (labels(photos), splits(photos)) == (RIGHT, {"test": 6})
    with pytest.raises(
        ConfigError, match=r"label_column is 'bred'; .* has the columns photo_of_it, .*did you mean 'breed'"
    ):
        read(tmp_path / "list.csv", image_column="photo_of_it", label_column="bred")


def test_an_optional_column_that_is_named_as_the_label_is_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    (tmp_path / "list.csv").write_text(lines(ROWS, head="path,group"))
    photos = read(tmp_path / "list.csv", label_column="group")
    assert labels(photos) == RIGHT
    assert {record.group for record in photos.records} == {""}


def test_columns_of_what_has_none_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    with pytest.raises(ConfigError, match=r"label_column is set, but .* is read as folder, which has no columns"):
        read(tmp_path, label_column="species")


def test_json_lists_are_manifests_and_nan_is_nothing(tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    rows = [{"path": path, "label": name, "group": float("nan"), "parent": float("nan"), "x1": float("nan")}
            for path, name in ROWS]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(rows))
    photos = read(tmp_path / "list.json")
    assert (labels(photos), photos.parents, photos.records[0].group, photos.records[0].box_xyxy) == (
        RIGHT,
        {},
        "",
        None,
    )
    (tmp_path / "list.json").write_text(json.dumps([*rows, {"path": ROWS[0][0], "label": float("nan")}]))
    with pytest.raises(DataError, match=r"list\.json, row 6 has no label"):
        read(tmp_path / "list.json")


# Paths --------------------------------------------------------------------------------------------------------------

KOENIG = "img/zaunkönig.jpg"
FOUND: dict[str, tuple[str, str]] = {
    "backslashes": ("img/a.jpg", "img\\a.jpg"),
    "backslashes and a dot": ("img/a.jpg", ".\\img\\a.jpg"),
    "a Mac's spelling": (unicodedata.normalize("NFC", KOENIG), unicodedata.normalize("NFD", KOENIG)),
    "another's spelling": (unicodedata.normalize("NFD", KOENIG), unicodedata.normalize("NFC", KOENIG)),
    "a folder in another spelling": (
        unicodedata.normalize("NFD", "käfer/a.jpg"), unicodedata.normalize("NFC", "käfer/a.jpg")
    ),
    "no suffix": ("img/a.jpg", "img/a"),
    "no suffix and a dot": ("img/cat.1.png", "img/cat.1"),
    "a name in the folder beside": ("train_images/a.jpg", "a.jpg"),
    "an id in the folder beside": ("train_images/a.jpg", "a"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_photo_is_found_though_its_path_is_written_otherwise_and_it_is_said(name: str, tmp_path: Path) -> None:
    there, listed = FOUND[name]
    touch(tmp_path, [there])
    (tmp_path / "list.csv").write_text(f"path,label\n{listed},wren\n", encoding="utf-8")
    photos = read(tmp_path / "list.csv")
    assert [record.path for record in photos.records] == [tmp_path / there]
    assert photos.notes[0].startswith("1 paths differ in spelling from the files on disk and were matched: ")


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        (
            "https://example.org/img/a.jpg",
            "a URL; only local files are read: download them, and list .* without https://",
        ),
        ("s3://bucket/a.jpg", "a URL"),
        ("file:///img/a.jpg", "without file://"),
        ("C:\\Users\\me\\a.jpg", "has backslashes and does not exist with slashes either"),
        ("img", "which is a folder; list each photo in it"),
        ("img/a.JPG", r"a similar name is .*/img/a\.jpg; relative paths are resolved from"),
        ("/img/a.jpg", r"a similar name is .*/img/a\.jpg"),
        ("deep/a.jpg", r"a similar name is .*/img/a\.jpg"),
        ("img/two", r"is ambiguous: .*/img/two\.jpg or .*/img/two\.png; write the full path"),
        ("lost.jpg", "which does not exist; relative paths are resolved from"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_the_cause(listed: str, match: str, tmp_path: Path) -> None:
    touch(tmp_path, ["img/a.jpg", "img/two.jpg", "img/two.png"])
    (tmp_path / "list.csv").write_text(f"path,label\n{listed},wren\n")
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}/list.csv, line 2 names .*{match}") as error:
        read(tmp_path / "list.csv")
    assert "\n" not in str(error.value)


def test_a_path_from_where_the_user_stands_is_told_from_one_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, ["data/a.jpg"])
    (tmp_path / "data" / "list.csv").write_text("path,label\ndata/a.jpg,wren\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="exists below the working directory but not below the list's folder"):
        read(Path("data/list.csv"))


def test_rows_that_repeat_count_once_and_contradictions_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    rows = [(*row, "train", "", "", "", "") for row in ROWS] + [
        ("./" + ROWS[0][0], "wren", "train", "1", "1", "9", "9"), (ROWS[0][0], "wren", "train", "1", "1", "5", "5"),
        (ROWS[1][0], "bird", "train", "", "", "", ""), ("img/../" + ROWS[2][0], "wren", "test", "", "", "", ""),
    ]  # fmt: skip
    (tmp_path / "list.csv").write_text(lines(rows, head="path,label,split,x1,y1,x2,y2"))
    photos = read(tmp_path / "list.csv")
    assert len(photos.records) == 8
    assert photos.records[0].box_xyxy == (1.0, 1.0, 9.0, 9.0)
    repeated, torn, leaked = photos.notes
    assert repeated.startswith("2 rows of")
    assert "1 photos of" in torn and "with 'bird' and 'wren'" in torn  # noqa: PT018
    assert "in more than one split" in leaked and "in test and train" in leaked  # noqa: PT018


# Labels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    ["barn\u00a0owl", "barn  owl", "barn owl\u200b", "barn \u200bowl", "\ufeffbarn owl", "barn\u00ad owl", "barn\towl",
     "barn\nowl", "barn\u202fowl", "\u2060barn owl", "barn\u200e owl", "barn\u3000owl"],
)  # fmt: skip
def test_labels_that_nobody_can_tell_apart_are_one_class_and_it_is_said(other: str, tmp_path: Path) -> None:
    touch(tmp_path, (f"{number}.jpg" for number in range(4)))
    rows = [{"path": f"{n}.jpg", "label": ("barn owl", other)[n % 2], "group": (other, "barn owl")[n % 2]}
            for n in range(4)]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(rows))
    photos = read(tmp_path / "list.json")
    assert labels(photos) == {"barn owl": 4}
    assert {record.group for record in photos.records} == {"barn owl"}
    assert any("labels that look identical" in note and "'barn owl'" in note for note in photos.notes)


def test_joiners_that_change_how_letters_look_and_capitals_keep_labels_apart(tmp_path: Path) -> None:
    touch(tmp_path, (f"{number}.jpg" for number in range(4)))
    names = ("می‌روم", "میروم", "Owl", "owl")
    rows = [(f"{number}.jpg", name) for number, name in enumerate(names)]
    (tmp_path / "list.csv").write_text(lines(rows), encoding="utf-8")
    photos = read(tmp_path / "list.csv")
    assert set(photos.class_names) == set(names)
    assert any("differ only in letter case" in note and "'Owl' and 'owl'" in note for note in photos.notes)


@pytest.mark.parametrize(("label", "match"), [("a\x1b[31mb", "control characters"), ("\u200b", "no visible character")])
def test_labels_that_cannot_be_shown_are_refused(label: str, match: str, tmp_path: Path) -> None:
    touch(tmp_path, ["a.jpg"])
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a.jpg", "label": label}))
    with pytest.raises(DataError, match=match):
        read(tmp_path / "list.jsonl")


def test_what_programs_write_where_nothing_is_means_nothing_but_as_a_label(tmp_path: Path) -> None:
    touch(tmp_path, (path for path, _ in ROWS))
    rows = [(path, "NA" if number == 0 else name, *["NA"] * 7) for number, (path, name) in enumerate(ROWS)]
    (tmp_path / "list.csv").write_text(lines(rows, head="path,label,split,x1,y1,x2,y2,group,parent"))
    photos = read(tmp_path / "list.csv")
    assert labels(photos) == {"NA": 1, "wren": 2, "robin": 3}
    assert photos.parents == {}
    assert {(record.group, record.box_xyxy) for record in photos.records} == {("", None)}
    said, doubtful = photos.notes
    assert "'NA' as split (6 times), 'NA' as x1 to y2 (24 times), 'NA' as group (6 times)" in said
    assert "'NA' (1 photos)" in doubtful


# Layouts of other tools ---------------------------------------------------------------------------------------------


def coco(folder: str = "", *, kinds: tuple[str, ...] = NAMES, **image: object) -> dict[str, Any]:
    names = [f"{folder}{kind}_{number}.jpg" for kind in kinds for number in range(3)]
    return {
        "images": [{"id": i, "file_name": name, **image} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, "category_id": i // 3} for i in range(len(names))],
        "categories": [{"id": i, "name": kind, "supercategory": "none"} for i, kind in enumerate(kinds)],
    }


def write_coco(file: Path, content: dict[str, Any]) -> None:
    touch(file.parent, (image["file_name"].replace("\\", "/") for image in content["images"]))
    file.write_text(json.dumps(content))


def metadata(folder: Path, *homes: str, name: str = "metadata.csv") -> None:
    for home in homes or ("",):
        touch(folder / home, (path for path, _ in ROWS))
        rows = [json.dumps({"file_name": path, "label": label}) for path, label in ROWS]
        text = lines(ROWS, head="file_name,label") if name.endswith(".csv") else "\n".join(rows)
        (folder / home / name).write_text(text)


def one_hot(folder: Path) -> None:
    for home in ("train", "valid", "test"):
        touch(folder / home, (path for path, _ in ROWS))
        rows = [(path, *(" 1" if label == name else " 0" for name in NAMES)) for path, label in ROWS]
        (folder / home / "_classes.csv").write_text(lines(rows, head="filename, wren, robin"))


def roboflow_coco(folder: Path) -> None:
    for home in ("train", "valid", "test"):
        (folder / home).mkdir()
        write_coco(folder / home / "_annotations.coco.json", coco())


def years(folder: Path) -> None:
    rows = [(f"{2023 + number % 2}/{number}.jpg", label) for number, (_, label) in enumerate(ROWS)]
    touch(folder, (path for path, _ in rows))
    (folder / "metadata.csv").write_text(lines(rows, head="file_name,label"))


def with_stray(name: str, content: str, *homes: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        class_folders(folder, *homes)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return make


ALL: dict[str | None, int] = {"train": 6}
THREE: dict[str | None, int] = {"train": 6, "val": 6, "test": 6}
LAYOUTS: dict[str, tuple[Callable[[Path], None], dict[str | None, int]]] = {
    "imagefolder with metadata.csv": (lambda folder: metadata(folder), ALL),
    "imagefolder with train only": (lambda folder: metadata(folder, "train"), ALL),
    "imagefolder with metadata.jsonl": (lambda folder: metadata(folder, "train", "test", name="metadata.jsonl"),
                                        {"train": 6, "test": 6}),
    "imagefolder by years": (years, ALL),
    "Roboflow's _classes.csv": (one_hot, THREE),
    "Roboflow's COCO": (roboflow_coco, THREE),
    "one COCO file for all": (lambda folder: write_coco(folder / "annotations.json", coco("images/")), ALL),
    "a COCO train.json alone": (lambda folder: write_coco(folder / "train.json", coco("images/")), ALL),
    "COCO with backslashes": (lambda folder: write_coco(folder / "all.json", coco("images\\x\\")), ALL),
    "folders for splits of other names": (lambda folder: class_folders(folder, "Training Set", "Testing Set"),
                                          {"train": 6, "test": 6}),
    "folders for splits in themselves": (
        lambda folder: class_folders(folder, "seg_train/seg_train", "seg_test/seg_test"), {"train": 6, "test": 6}
    ),
    "COCO's folders": (lambda folder: class_folders(folder, "train2017", "val2017"), {"train": 6, "val": 6}),
    "one level above": (lambda folder: class_folders(folder, "dataset/train", "dataset/test"), {"train": 6, "test": 6}),
    "two levels above": (lambda folder: class_folders(folder, "a/b/train", "a/b/valid"), {"train": 6, "val": 6}),
    "a log": (with_stray("train.txt", "Epoch 1, loss 0.5\nEpoch 2, loss 0.4\n"), ALL),
    "a list without labels": (with_stray("train.txt", "wren/0.jpg\nrobin/0.jpg\n"), ALL),
    "our own predictions": (with_stray("predictions.parquet", "PAR1"), ALL),
    "an arrow": (with_stray("cache.arrow", "ARROW1"), ALL),
    "lists of ImageNet's": (with_stray("meta/train.txt", "wren/0 0\n"), ALL),
    "a list of another": (with_stray("annotations/test.txt", "x\n"), ALL),
    "JSON without photos": (with_stray("train.json", '{"images": [], "annotations": [], "categories": []}'), ALL),
    "a state": (with_stray("state.json", "{}"), ALL),
    "CUB's sizes": (with_stray("image_class_labels.txt", "1 1\n"), ALL),
    "MATLAB's ids": (with_stray("setid.mat", "x"), ALL),
    "mmpretrain": (with_stray("meta/train.txt", "wren/0 0\n", "train", "val"), {"train": 6, "val": 6}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_another_tool_is_read_with_its_labels_and_splits(name: str, tmp_path: Path) -> None:
    make, expected = LAYOUTS[name]
    make(tmp_path)
    photos = read(tmp_path)
    assert splits(photos) == expected
    assert labels(photos) == {label: 3 * len(expected) for label in NAMES}
    assert photos.parents == {}


def test_photos_that_a_table_beside_them_does_not_list_are_noted(tmp_path: Path) -> None:
    metadata(tmp_path)
    touch(tmp_path, ["img/other.jpg"])
    assert read(tmp_path).notes == (f"photos without a label, not read: 1 ({tmp_path / 'img' / 'other.jpg'})",)


def test_what_class_folders_win_over_is_said_with_the_reason(tmp_path: Path) -> None:
    with_stray("meta/train.txt", "wren/0 0\n")(tmp_path)
    (note,) = read(tmp_path).notes
    assert "is read as class folders; it could not be read as food: Food-101 in" in note
    (tmp_path / "meta" / "train.txt").unlink()
    (tmp_path / "train.txt").write_text("wren/0.jpg, 1\nrobin/0.jpg, 2\n")
    assert read(tmp_path).source.startswith("text lists")


FLAT: dict[str, tuple[list[str], str]] = {
    "two splits": (["train/a.jpg", "test/a.jpg"], r"are in split folders only \(test and train\)"),
    "three splits": (
        ["Train/a.jpg", "valid/a.jpg", "TEST/a.jpg"],
        r"are in split folders only \(TEST and Train and valid\)",
    ),
    "splits in classes": (
        ["wren/train/a.jpg", "wren/test/a.jpg", "robin/train/a.jpg"],
        r"are in split folders only \(test and train\)",
    ),
    "images of a competition": (
        ["train_images/a.jpg", "test_images/a.jpg"],
        r"are in split folders only \(test_images and train_images",
    ),
    "folds": (
        ["fold1/wren/a.jpg", "fold2/wren/a.jpg"],
        "if the folders around them are splits, name",
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_splits_are_no_classes(name: str, tmp_path: Path) -> None:
    files, match = FLAT[name]
    touch(tmp_path, files)
    with pytest.raises(DataError, match=match):
        read(tmp_path)


def test_a_list_beside_flat_splits_is_named(tmp_path: Path) -> None:
    touch(tmp_path, ["train/a.jpg", "test/b.jpg"])
    (tmp_path / "train.csv").write_text("id,label\na,wren\n")
    with pytest.raises(
        DataError, match=r"if the labels are in another file, give the list of them, perhaps .*/train\.csv"
    ):
        read(tmp_path)


@pytest.mark.parametrize("classes", [("train", "bus", "car"), ("data", "train", "robin"), ("dev", "test", "prod")])
def test_classes_may_be_called_as_splits_are(classes: tuple[str, ...], tmp_path: Path) -> None:
    touch(tmp_path, (f"{name}/{number}.jpg" for name in classes for number in range(2)))
    assert labels(read(tmp_path)) == dict.fromkeys(classes, 2)


# Camera traps and annotation tools ----------------------------------------------------------------------------------


def test_one_coco_file_is_read_with_ids_of_any_type_and_its_sequences_are_groups(tmp_path: Path) -> None:
    content = coco("images/", seq_id="night 7")
    for row in content["annotations"]:
        row |= {"image_id": float(row["image_id"]), "category_id": str(row["category_id"])}
    write_coco(tmp_path / "annotations.json", content)
    for data in (tmp_path, tmp_path / "annotations.json"):
        photos = read(data)
        assert labels(photos) == RIGHT
        assert {record.group for record in photos.records} == {"night 7"}


def test_coco_photos_may_lie_in_a_folder_beside_that_their_names_leave_out(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations.json", coco())
    (tmp_path / "images").mkdir()
    for photo in tmp_path.glob("*.jpg"):
        photo.rename(tmp_path / "images" / photo.name)
    assert labels(read(tmp_path)) == RIGHT


def test_a_test_file_with_labels_is_the_test_split_and_val_then_validates(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_coco(tmp_path / f"{split}.json", coco(f"{split}/"))
    assert splits(read(tmp_path)) == {"train": 6, "val": 6, "test": 6}
    write_coco(tmp_path / "test.json", {**coco("test/"), "annotations": []})
    assert splits(read(tmp_path)) == {"train": 6, "test": 6}
    (tmp_path / "val.json").unlink()
    assert any("no val*.json or test*.json with labels" in note for note in read(tmp_path).notes)


def test_coco_files_that_call_a_category_differently_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", coco("train/"))
    write_coco(tmp_path / "val.json", coco("val/", kinds=("robin", "wren")))
    with pytest.raises(DataError, match="calls category 0 'robin', and another 'wren'"):
        read(tmp_path)


def test_a_photo_of_several_classes_in_a_table_of_ones_and_noughts_is_refused(tmp_path: Path) -> None:
    one_hot(tmp_path)
    (tmp_path / "train" / "_classes.csv").write_text(f"filename, wren, robin\n{ROWS[0][0]}, 1, 1\n")
    with pytest.raises(DataError, match="line 2 gives its photo 2 classes, wren and robin; expected one"):
        read(tmp_path)


# What is asked, and what is said --------------------------------------------------------------------------------------


def test_every_reader_says_why_it_declines(tmp_path: Path) -> None:
    with_stray("setid.mat", "x")(tmp_path)
    said = explain_reading(tmp_path, config=WHOLE)
    assert "manifest: no; requires a file .csv, .tsv, .txt, .jsonl, .json" in said
    assert "food: no; requires meta/train.txt or meta/test.txt" in said
    assert any(line.startswith("flowers: yes; but fails: Oxford Flowers-102 in") for line in said)
    assert said[-1] == "folder: also; 6 photos of 2 classes"


def test_a_format_that_is_misspelt_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="format is 'folders'; did you mean 'folder'\\?; accepted: auto, beetles"):
        read_photos(tmp_path, config=WHOLE, format="folders")
