"""Folders as people have them: what is read, what is passed over and said, and what is refused."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from mge.config import DataConfig
from mge.data.labels import clean_label, clean_labels
from mge.data.records import PhotoSet, Record
from mge.data.sources import find_photos, read_photos
from mge.data.sources.walking import search
from mge.errors import DataError
from tests.odd_photos import ODD_PHOTOS
from tests.photos import write_class_folders, write_photo

CONFIG = DataConfig()
RED = (200, 30, 30)
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Crème brûlée") for form in ("NFC", "NFD"))


def labels_of(folder: Path) -> set[tuple[str, str]]:
    """Name and class of each photo that is read."""
    return {(record.path.name, record.label) for record in read_photos(folder, config=CONFIG).records}


def test_pictures_of_runs_that_lie_among_the_photos_are_no_photos(tmp_path: Path) -> None:
    for name in ("apple", "pear"):
        for number in range(3):
            write_photo(tmp_path / name / f"{number}.png", RED)
    run = tmp_path / "runs" / "photos"
    write_photo(run / "report" / "what_each_expert_saw.png", RED)
    for name in ("config.yaml", "environment.json"):
        (run / name).write_text("{}")
    photos = read_photos(tmp_path, config=DataConfig())
    assert photos.class_names == ("apple", "pear")
    assert len(photos.records) == 6


@pytest.mark.parametrize(
    "junk",
    ["__MACOSX", ".ipynb_checkpoints", "@eaDir", ".git", "#recycle", "$RECYCLE.BIN", "System Volume Information"],
)
def test_photos_in_what_systems_leave_behind_are_not_read(tmp_path: Path, junk: str) -> None:
    write_class_folders(tmp_path, per_class=2)
    write_photo(tmp_path / junk / "apple" / "a.png", RED)
    write_photo(tmp_path / "apple" / junk / "a.png", RED)
    photos = read_photos(tmp_path, config=CONFIG)
    assert (len(photos.records), photos.source) == (6, "class folders")


def test_files_that_systems_leave_behind_are_neither_read_nor_counted(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.jpg", "Icon\r"):
        (tmp_path / "apple" / name).write_bytes(b"x")
    photos = read_photos(tmp_path, config=CONFIG)
    assert (len(photos.records), photos.source) == (6, "class folders")


@pytest.mark.parametrize(
    "name", ["a.JPG", "b.Jpeg", "c.HEIC", "d.heif", "e.TIFF", "f.jfif", "g.WebP", "h.AVIF", "i.mpo"]
)
def test_a_photo_is_known_by_its_suffix_in_any_case_without_being_opened(tmp_path: Path, name: str) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / name).write_bytes(b"")
    assert (name, "apple") in labels_of(tmp_path)


@pytest.mark.parametrize("name", ["IMG_1234", "photo.jpg_large", "photo.jpg.download", "photo.1", "photo.JPG~"])
@pytest.mark.parametrize("kind", ["EXIF orientation 1", "a palette", "a lossy WebP", "a HEIC", "an AVIF"])
def test_a_photo_with_an_unknown_suffix_or_none_is_known_by_its_first_bytes(
    tmp_path: Path, name: str, kind: str
) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / name).write_bytes(ODD_PHOTOS[kind]().content)
    assert (name, "apple") in labels_of(tmp_path)


def test_files_that_are_no_photos_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / "labels.xml").write_text("<xml/>")
    (tmp_path / "LICENSE").write_text("yours")
    (tmp_path / "lime" / "raw.NEF").write_bytes(ODD_PHOTOS["16-bit grey in a TIFF"]().content)  # its thumbnail, say
    os.mkfifo(tmp_path / "lime" / "pipe.jpg")
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.source == "class folders; files that are not photos: 4 (such as LICENSE)"
    assert len(photos.records) == 6


def test_no_known_file_beside_photos_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / "notes.txt").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "open", refuse)
    assert len(search(tmp_path).photos) == 6


def test_empty_class_folders_are_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "pear").mkdir()
    (tmp_path / "quince").mkdir()
    (tmp_path / "quince" / ".DS_Store").write_bytes(b"x")
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.class_names == ("apple", "lime", "plum")
    assert photos.source == "class folders; folders without photos: 2 (such as pear)"


def test_a_folder_without_photos_says_what_is_there_instead(tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "a.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match=r"contains no photos; .*files that are not photos: 1 \(film/a\.mp4\)"):
        read_photos(tmp_path, config=CONFIG)


def test_folders_may_be_nested_deeply(tmp_path: Path) -> None:
    write_photo(tmp_path / "apple" / "a.png", RED)
    write_photo(tmp_path.joinpath(*("d" for _ in range(300)), "lime", "b.png"), RED)
    assert labels_of(tmp_path) == {("a.png", "apple"), ("b.png", "lime")}


# Links --------------------------------------------------------------------------------------------------------------


def test_links_to_photos_and_to_folders_are_followed(tmp_path: Path) -> None:
    store = write_class_folders(tmp_path / "store", per_class=2)
    data = tmp_path / "data"
    (data / "lime").mkdir(parents=True)
    (data / "green").symlink_to(store / "lime")
    (data / "lime" / "x.png").symlink_to(store / "apple" / "0.png")
    assert labels_of(data) == {("0.png", "green"), ("1.png", "green"), ("x.png", "lime")}


def test_circles_of_links_end_and_are_said(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / "again").symlink_to(tmp_path)
    (tmp_path / "lime" / "self").symlink_to(tmp_path / "lime" / "self")
    photos = read_photos(tmp_path, config=CONFIG)
    assert len(photos.records) == 6
    assert "links to folders that were already read: 1 (apple/again)" in photos.source
    assert "broken links: 1 (lime/self)" in photos.source


def test_a_folder_that_is_reached_twice_is_read_under_its_own_name(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "a link").symlink_to(tmp_path / "plum")
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.class_names == ("apple", "lime", "plum")
    assert photos.source == "class folders; links to folders that were already read: 1 (a link)"


def test_broken_links_are_said_and_reported_by_predict(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    (tmp_path / "apple" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.source == "class folders; broken links: 1 (apple/gone.jpg)"
    assert len(photos.records) == 6
    assert str(tmp_path / "apple" / "gone.jpg") in find_photos([str(tmp_path)])


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path, per_class=2)
    scandir = os.scandir

    def scan(path: Path) -> object:
        if Path(path).name == "lime":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(DataError, match=r"lime cannot be read: Permission denied; make it readable"):
        read_photos(tmp_path, config=CONFIG)


# Names --------------------------------------------------------------------------------------------------------------


def test_names_that_look_the_same_are_one_class_and_it_is_said(tmp_path: Path) -> None:
    assert COMPOSED != DECOMPOSED
    write_class_folders(tmp_path, per_class=2)
    for number, name in enumerate((COMPOSED, DECOMPOSED, f"{COMPOSED} ")):
        write_photo(tmp_path / name / f"{number}.png", RED)
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.class_names == (COMPOSED, "apple", "lime", "plum")
    assert sum(record.label == COMPOSED for record in photos.records) == 3
    assert photos.source == f"class folders; folders merged because their names look the same: 1 ({COMPOSED})"


def test_splits_may_spell_a_class_in_two_ways(tmp_path: Path) -> None:
    for split, name in (("train", COMPOSED), ("test", DECOMPOSED)):
        write_class_folders(tmp_path / split, per_class=2)
        write_photo(tmp_path / split / name / "a.png", RED)
    photos = read_photos(tmp_path, config=DataConfig(val_fraction=0))
    assert [record.label for record in photos.split("test")].count(COMPOSED) == 1
    assert COMPOSED in photos.class_names
    assert len(photos.class_names) == 4


@pytest.mark.parametrize("folders", [("Apple", "apple"), ("train/Apple", "test/apple")])
def test_names_that_differ_in_capital_letters_only_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in (*folders, str(Path(folders[0]).parent / "lime")):
        write_photo(tmp_path / folder / "a.png", RED)
    with pytest.raises(DataError, match=r"differ only in letter case: 'Apple' and 'apple'; .* manifest"):
        read_photos(tmp_path, config=CONFIG)


def test_a_manifest_keeps_capital_letters_apart_and_joins_what_looks_the_same(tmp_path: Path) -> None:
    rows = [f"a.png,{label}" for label in ("A", "a", COMPOSED, DECOMPOSED)]
    write_photo(tmp_path / "a.png", RED)
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    assert set(read_photos(tmp_path / "list.csv", config=CONFIG).class_names) == {"A", "a", COMPOSED}


def test_labels_of_every_source_are_cleaned_with_their_coarser_classes() -> None:
    records = tuple(Record(Path(f"{number}.png"), label) for number, label in enumerate((DECOMPOSED, COMPOSED, "b")))
    photos = PhotoSet("s", "test", (DECOMPOSED, COMPOSED, "b"), records, {DECOMPOSED: f"sweet {DECOMPOSED}"})
    cleaned = clean_labels(photos)
    assert cleaned.class_names == (COMPOSED, "b")
    assert [record.label for record in cleaned.records] == [COMPOSED, COMPOSED, "b"]
    assert cleaned.parents == {COMPOSED: f"sweet {COMPOSED}"}


def test_a_name_in_another_encoding_is_refused(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/cr\xe8me"
    os.mkdir(folder)  # noqa: PTH102  (a name that is bytes)
    write_photo(Path(os.fsdecode(folder)) / "a.png", RED)
    with pytest.raises(DataError, match=r"'cr\\udce8me' is not valid UTF-8; rename"):
        read_photos(tmp_path, config=CONFIG)


def test_what_the_data_are_called_is_text_whatever_their_folder_and_what_lies_in_it_are(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9tes"))
    write_class_folders(folder, per_class=2)
    (folder / os.fsdecode(b"cr\xe8me.txt")).write_text("")
    photos = read_photos(folder, config=CONFIG)
    assert photos.name == "b\ufffdtes"
    assert "cr\ufffdme.txt" in photos.source


@pytest.mark.parametrize("label", ["  apple ", "apple", "\tapple\n"])
def test_spaces_around_a_label_do_not_count(label: str) -> None:
    assert clean_label(label) == "apple"


# Where photos lie ---------------------------------------------------------------------------------------------------


def test_photos_beside_class_folders_are_refused_at_any_depth(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    write_photo(tmp_path / "apple" / "close" / "a.png", RED)
    with pytest.raises(DataError, match=r"apple/0\.png is next to the class folder close, so its class is ambiguous"):
        read_photos(tmp_path, config=CONFIG)
    write_photo(tmp_path / "loose.png", RED)
    with pytest.raises(DataError, match=r"loose\.png is not in a class folder"):
        read_photos(tmp_path, config=CONFIG)


def make_loose_test(folder: Path) -> str:
    write_class_folders(folder, per_class=2, splits=("train",))
    write_photo(folder / "test" / "0001.png", RED)
    return "class folders; next to the split folders, not read: 1 (test)"


def make_extra_folder(folder: Path) -> str:
    write_class_folders(folder, per_class=2, splits=("train", "val"))
    write_photo(folder / "extra" / "apple" / "a.png", RED)
    write_photo(folder / "cover.jpg", RED)
    (folder / "README").write_text("hello")
    os.mkfifo(folder / "pipe")
    return "class folders; next to the split folders, not read: 2 (such as cover.jpg)"


def make_gap_in_test(folder: Path) -> str:
    write_class_folders(folder, per_class=2, splits=("train", "test"))
    for file in (folder / "test" / "lime").iterdir():
        file.unlink()
    return "class folders; folders without photos: 1 (test/lime); classes without test photos: 1 (lime)"


@pytest.mark.parametrize("make", [make_loose_test, make_extra_folder, make_gap_in_test])
def test_what_the_splits_leave_out_is_said(tmp_path: Path, make: Callable[[Path], str]) -> None:
    said = make(tmp_path)
    photos = read_photos(tmp_path, config=CONFIG)
    assert photos.source == said
    assert photos.class_names == ("apple", "lime", "plum")


def test_train_may_be_a_class(tmp_path: Path) -> None:
    for label in ("bus", "train", "car"):
        write_photo(tmp_path / label / "a.png", RED)
    assert read_photos(tmp_path, config=CONFIG).class_names == ("bus", "car", "train")


# What predict is given ----------------------------------------------------------------------------------------------


def test_a_folder_gives_its_photos_and_a_name_gives_its_file_whatever_it_is(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=1)
    (tmp_path / "apple" / "notes.txt").write_text("no photo")
    (tmp_path / "apple" / "IMG_7").write_bytes(ODD_PHOTOS["a palette"]().content)
    hidden = write_photo(tmp_path / ".hidden.png", RED)
    found = [Path(file).name for file in find_photos([str(tmp_path)])]
    assert found == ["0.png", "IMG_7", "0.png", "0.png"]
    named = [str(hidden), str(tmp_path / "apple" / "notes.txt")]
    assert find_photos(named) == named
    assert find_photos([str(tmp_path / "*" / "*.png")]) == [
        str(tmp_path / label / "0.png") for label in ("apple", "lime", "plum")
    ]
