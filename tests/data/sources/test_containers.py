"""Photos to classify out of manifests, Parquet files and tar archives."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import mge
from mge.data.photo import NamedPhoto, open_photo
from mge.data.sources.containers import find_all_photos
from tests.photos import COLORS, write_class_folders, write_photo


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = write_class_folders(tmp_path / "photos", per_class=2)
    return [folder / label / f"{index}.png" for label in COLORS for index in range(2)]


def write_tar(file: Path, entries: dict[str, bytes], *, mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def contents(found: list[str | NamedPhoto]) -> list[bytes]:
    return [photo.read() if isinstance(photo, NamedPhoto) else Path(photo).read_bytes() for photo in found]


def test_a_tar_archive_stands_for_its_photos_in_their_order(photos: list[Path], tmp_path: Path) -> None:
    entries = {f"shard/{number}.png": file.read_bytes() for number, file in enumerate(photos)}
    others = {"shard/0.cls": b"3", "__MACOSX/0.png": b"junk", "shard/.hidden.jpg": b"junk"}
    archive = write_tar(tmp_path / "shard.tar", {**others, **entries})
    found = find_all_photos([str(archive)])
    assert [photo.name for photo in found if isinstance(photo, NamedPhoto)] == [f"{archive}#{name}" for name in entries]
    assert contents(found) == list(entries.values())
    first = found[0]
    assert isinstance(first, NamedPhoto)
    assert open_photo(first).tobytes() == open_photo(photos[0]).tobytes()


def test_a_photo_in_an_archive_that_cannot_be_read_is_called_by_its_name(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "shard.tar", {"a.jpg": b"no photo"})
    (photo,) = find_all_photos([str(archive)])
    with pytest.raises(mge.DataError, match=r"shard\.tar#a\.jpg is not a photo"):
        open_photo(photo)
    archive.unlink()
    with pytest.raises(mge.DataError, match=r"shard\.tar cannot be read: No such file"):
        open_photo(photo)


@pytest.mark.parametrize("mode", ["w:gz", "text", "empty"])
def test_what_is_no_plain_archive_with_photos_is_refused(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "shard.tar"
    if mode == "text":
        file.write_text("no archive")
    else:
        write_tar(file, {"readme.txt": b"text"}, mode="w" if mode == "empty" else mode)
    match = (
        "has no photos in it, among 1 files" if mode == "empty" else "is no tar archive, a compressed one, or damaged"
    )
    with pytest.raises(mge.DataError, match=match):
        find_all_photos([str(file)])


def test_parquet_stands_for_its_photos_group_by_group(photos: list[Path], tmp_path: Path) -> None:
    bytes_of = [file.read_bytes() for file in photos]
    plain = pyarrow.table({"image": bytes_of, "label": list(range(6)), "checksum": [b"x"] * 6})
    structs = pyarrow.table({"photo_of_it": [{"bytes": content, "path": None} for content in bytes_of]})
    for name, table in (("plain", plain), ("structs", structs)):
        file = tmp_path / f"{name}.parquet"
        parquet.write_table(table, file, row_group_size=4)
        found = find_all_photos([str(file)])
        assert [photo.name for photo in found if isinstance(photo, NamedPhoto)] == [f"{file}#{row}" for row in range(6)]
        assert contents(found) == bytes_of
        assert contents(found[::-1]) == bytes_of[::-1]


def test_a_row_without_a_photo_and_a_table_without_a_column_are_named(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"image": pyarrow.array([None], pyarrow.binary())}), file)
    (photo,) = find_all_photos([str(file)])
    with pytest.raises(mge.DataError, match="has no photo in row 0"):
        open_photo(photo)
    parquet.write_table(pyarrow.table({"a": [b"1"], "b": [b"2"], "c": [3]}), file)
    with pytest.raises(
        mge.DataError, match="has 2 columns of bytes, among: a, b, c; call that with the photos 'image'"
    ):
        find_all_photos([str(file)])
    file.write_bytes(b"no table")
    with pytest.raises(mge.DataError, match="is no Parquet file, or damaged"):
        find_all_photos([str(file)])


def test_a_manifest_stands_for_the_paths_that_it_lists(photos: list[Path], tmp_path: Path) -> None:
    relative = [str(file.relative_to(tmp_path)) for file in photos]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *(f"{path}," for path in relative)]))
    (tmp_path / "list.tsv").write_text("\n".join(["id\tpath", *(f"{n}\t{path}" for n, path in enumerate(relative))]))
    (tmp_path / "list.jsonl").write_text("\n".join(f'{{"path": "{path}"}}' for path in relative))
    for name in ("list.csv", "list.tsv", "list.jsonl"):
        assert find_all_photos([str(tmp_path / name)]) == [str(file) for file in photos]
    (tmp_path / "list.csv").write_text("place\nphoto.jpg")
    with pytest.raises(mge.DataError, match=r"list\.csv has no column for the photos, among: place; say which"):
        find_all_photos([str(tmp_path / "list.csv")])
    (tmp_path / "list.csv").write_text("path\n")
    with pytest.raises(mge.DataError, match="lists no photos"):
        find_all_photos([str(tmp_path / "list.csv")])


def test_a_folder_of_shards_stands_for_what_is_in_them_and_names_can_be_mixed(
    photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    archive = write_tar(tmp_path / "shards" / "a.tar", {"0.png": photos[0].read_bytes()})
    table = tmp_path / "shards" / "b.parquet"
    parquet.write_table(pyarrow.table({"image": [photos[1].read_bytes()]}), table)
    found = find_all_photos([str(tmp_path / "shards"), str(photos[2].parent), str(photos[2]), str(archive)])
    names = [photo.name if isinstance(photo, NamedPhoto) else photo for photo in found]
    assert names == [f"{archive}#0.png", f"{table}#0", str(photos[2]), str(photos[3])]
    write_photo(tmp_path / "shards" / "photo.png", (1, 2, 3))
    assert find_all_photos([str(tmp_path / "shards")]) == [str(tmp_path / "shards" / "photo.png")]


def test_a_name_that_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mge.DataError, match=r"nowhere\.tar' stands for no photo"):
        find_all_photos([str(tmp_path / "nowhere.tar")])


def write_nulls(file: Path, *, rows: int) -> Path:
    """A table of 12 kB with as many rows as one likes, and no photo."""
    parquet.write_table(pyarrow.table({"image": pyarrow.nulls(rows, pyarrow.binary())}), file)
    return file


def test_a_table_of_more_rows_than_its_bytes_can_hold_photos_is_refused(tmp_path: Path) -> None:
    file = write_nulls(tmp_path / "nulls.parquet", rows=5_000_000)
    with pytest.raises(mge.DataError, match=r"nulls\.parquet has 5,000,000 rows in [\d,]+ bytes, too many to have"):
        find_all_photos([str(file)])
    few = find_all_photos([str(write_nulls(tmp_path / "few.parquet", rows=1000))])
    assert len(few) == 1000


def test_a_table_that_unpacks_into_far_more_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mge.data.sources.parquet.BYTES_OF_ANY_GROUP", 10_000_000)
    file = tmp_path / "zeros.parquet"
    parquet.write_table(pyarrow.table({"image": [bytes(12_000_000)]}), file, compression="zstd", use_dictionary=False)
    with pytest.raises(mge.DataError, match=r"unpacks its group 0 of rows from [\d,]+ into 12,\d+,\d+ bytes"):
        find_all_photos([str(file)])


def test_a_photo_that_a_table_repeats_without_end_is_read_one_at_a_time(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).bytes(1_000_000)
    file = tmp_path / "same.parquet"
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 50_000, pyarrow.int32()), [photo])
    parquet.write_table(pyarrow.table({"image": column}), file, store_schema=False)  # 50 GB
    found = find_all_photos([str(file)])
    assert len(found) == 50_000
    assert contents([found[3], found[4], found[4], found[2]]) == [photo] * 4


def test_a_table_that_is_damaged_inside_is_told_for_each_row_and_read_up_to_there(tmp_path: Path) -> None:
    file, photos = tmp_path / "t.parquet", [np.random.default_rng(n).bytes(900) for n in range(90)]
    parquet.write_table(pyarrow.table({"image": photos}), file, row_group_size=30, use_dictionary=False)
    place = parquet.read_metadata(file).row_group(1).column(0).data_page_offset
    content = file.read_bytes()
    file.write_bytes(content[:place] + b"\xff" * 40 + content[place + 40 :])
    found = [photo for photo in find_all_photos([str(file)]) if isinstance(photo, NamedPhoto)]
    for number, photo in enumerate(found):
        if 30 <= number < 60:
            with pytest.raises(mge.DataError, match=r"t\.parquet is damaged: .*; write it again"):
                photo.read()
        else:
            assert photo.read() == photos[number]
