"""Manifests and other lists of photos with anything in them: read as what they say, or refused in one line."""

import csv
import io
import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mge.config import DataConfig
from mge.data.records import Record
from mge.data.sources import read_photos
from mge.data.sources.archive import ListedFiles
from mge.data.sources.manifest import read_manifest, read_paths
from mge.errors import DataError

quick = settings(max_examples=150, deadline=None, database=None, derandomize=True)

FILES = ("a.png", "b, or not.png", 'the "third".png', "four\tth.png", "Käfer 5.png", "six\u2028th.png", "seven\nth.png",
         "folder/a.png")  # fmt: skip
SUFFIXES = (".csv", ".tsv", ".jsonl")
SPLITS = {"Train": "train", "valid": "val", "TEST": "test", "": None}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = text.map(str.strip).filter(bool)
edges = st.floats(0, 1e6).map(lambda x: round(x, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of odd names, and one beside it that is nobody's business."""
    home = tmp_path_factory.mktemp("any") / "photos"
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    (home.parent / "secret.png").touch()
    return home


@st.composite
def rows(draw: st.DrawFn) -> dict[str, str]:
    """What a manifest says of a photo."""
    row = {"path": draw(st.sampled_from(FILES)), "label": draw(names), "group": draw(st.just("") | names),
           "split": draw(st.sampled_from(list(SPLITS))), "note": draw(text)}  # fmt: skip
    x1, y1, width, height = (draw(edges) for _ in range(4))
    box = (x1, y1, x1 + width + 1, y1 + height + 1) if draw(st.booleans()) else ("", "", "", "")
    return row | dict(zip(("x1", "y1", "x2", "y2"), map(str, box), strict=True))


def expected(row: dict[str, str], folder: Path) -> Record:
    box = tuple(float(row[edge]) for edge in ("x1", "y1", "x2", "y2")) if row["x1"] else None
    return Record(folder / row["path"], row["label"], SPLITS[row["split"]], box, group=row["group"])  # type: ignore[arg-type]


def write(data: st.DataObject, listed: list[dict[str, str]], suffix: str) -> bytes:
    """A manifest as any program may write it."""
    columns = data.draw(st.permutations(list(listed[0])))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    start = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    if suffix == ".jsonl":
        is_plain = data.draw(st.booleans())
        lines = [json.dumps({name: row[name] for name in columns}, ensure_ascii=is_plain) for row in listed]
        return start + end.join(lines).encode()
    opened = io.StringIO(newline="")
    has_returns = any("\r" in value for row in listed for value in row.values())  # Python 3.11 does not quote them
    quoting: Literal[0, 1] = csv.QUOTE_ALL if has_returns or data.draw(st.booleans()) else csv.QUOTE_MINIMAL
    writer = csv.writer(opened, delimiter="\t" if suffix == ".tsv" else ",", lineterminator=end, quoting=quoting)
    writer.writerow([data.draw(st.sampled_from([name, name.upper(), f" {name} "])) for name in columns])
    writer.writerows([[row[name] for name in columns] for row in listed])
    return start + opened.getvalue().encode()


@quick
@given(data=st.data(), listed=st.lists(rows(), min_size=1, max_size=4), suffix=st.sampled_from(SUFFIXES))
def test_a_manifest_of_any_text_is_read_as_it_was_written(
    folder: Path, data: st.DataObject, listed: list[dict[str, str]], suffix: str
) -> None:
    file = folder / f"list{suffix}"
    file.write_bytes(write(data, listed, suffix))
    photos = read_manifest(file)
    assert list(photos.records) == [expected(row, folder) for row in listed]
    assert photos.class_names == tuple(sorted({row["label"] for row in listed}))
    assert read_paths(file) == [folder / row["path"] for row in listed]


fragments = st.sampled_from(
    ["path", "label", "split", "x1", "x2", "y1", "y2", "group", "parent", "a.png", "train", "1", "nan", "-1", "1e999",
     ",", "\t", '"', '""', "\n", "\r", "\r\n", "\0", "\u2028", "\x85", "\x1c", "\ufeff", "{", "}", "[", "]", ":", " ",
     '{"path": "a.png", "label": ', '"\\ud800"', "null", "true", "[]", "{}", "../", "/", "x" * 300, "9" * 5000]
)  # fmt: skip
jumbles = (
    st.lists(fragments | text, max_size=30).map("".join).map(str.encode) | st.binary(max_size=60)
    | st.lists(fragments, max_size=20).map(lambda parts: ("path,label\na.png,a\n" + "".join(parts)).encode())
)  # fmt: skip


@quick
@given(content=jumbles, suffix=st.sampled_from(SUFFIXES))
def test_anything_that_is_called_a_manifest_lists_photos_or_is_refused(
    folder: Path, content: bytes, suffix: str
) -> None:
    file = folder / f"jumble{suffix}"
    file.write_bytes(content)
    for read in (lambda: read_photos(file, config=DataConfig()).records, lambda: read_paths(file)):
        try:
            assert read()
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 20_000  # noqa: PT017


@quick
@given(content=jumbles, names=jumbles)
def test_anything_that_is_called_a_text_list_lists_photos_or_is_refused(
    folder: Path, content: bytes, names: bytes
) -> None:
    (folder / "train.txt").write_bytes(content)
    (folder / "classes.csv").write_bytes(names)
    try:
        assert read_photos(folder, config=DataConfig(), format="lists").records
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


parts = st.sampled_from(["..", ".", "", "a.png", "folder", "secret.png", "~", "C:", "\0", "\ud800", "%2e%2e"]) | text
paths = st.lists(parts | st.text(max_size=4), max_size=5).map("/".join)


@quick
@given(name=paths | st.sampled_from(FILES))
def test_a_name_in_an_annotation_file_stands_for_a_file_of_its_folder_or_is_refused(folder: Path, name: str) -> None:
    try:
        found = ListedFiles(folder, advice="copy it again").find(name, where="list.txt, line 1")
    except DataError as error:
        assert name not in FILES
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert found.is_file()
    assert found.resolve().is_relative_to(folder.resolve())
