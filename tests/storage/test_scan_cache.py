import json
import os
from pathlib import Path

import pytest

from mge.storage.scan_cache import ScanCache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.name)
    return files


def test_what_is_kept_is_known_the_next_time(tmp_path: Path) -> None:
    first, second = write(tmp_path / "photos", "a.jpg", "b.jpg")
    assert ScanCache([first, second]).get(first) is None
    ScanCache([first, second]).keep({first: ["", "digest", 3]})
    again = ScanCache([first, second])
    assert again.get(first) == ["", "digest", 3]
    assert again.get(second) is None
    again.keep({second: ["x"]})
    assert [ScanCache([first, second]).get(file) for file in (first, second)] == [["", "digest", 3], ["x"]]


def test_a_file_that_changed_is_forgotten(tmp_path: Path) -> None:
    first, second, third = write(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    files = [first, second, third]
    ScanCache(files).keep({file: [file.name] for file in files})
    first.write_text("longer than before")
    status = second.stat()
    os.utime(second, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert [ScanCache(files).get(file) for file in files] == [None, None, ["c.jpg"]]
    third.unlink()
    assert ScanCache(files).get(third) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 0, "rows": {}}', '{"version": 2, "rows": {"a": 1}}'])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, cache: Path, content: str) -> None:
    files = write(tmp_path / "photos", "a.jpg", "b.jpg")
    ScanCache(files).keep({files[0]: ["x"]})
    (saved,) = (cache / "looks").iterdir()
    assert json.loads(saved.read_text())["version"] == 2
    saved.write_text(content)
    remembered = ScanCache(files)
    assert remembered.get(files[0]) is None
    remembered.keep({files[0]: ["y"]})
    assert ScanCache(files).get(files[0]) == ["y"]


def test_where_nothing_can_be_written_nothing_is_remembered(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    files = write(tmp_path / "photos", "a.jpg")
    ScanCache(files).keep({files[0]: ["x"]})
    assert ScanCache(files).get(files[0]) is None


def test_no_files_are_no_error() -> None:
    ScanCache([]).keep({})


def test_a_folder_whose_name_is_no_text_is_remembered_as_any_other(tmp_path: Path) -> None:
    (file,) = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9tes")), "a.jpg")
    ScanCache([file]).keep({file: ["x"]})
    assert ScanCache([file]).get(file) == ["x"]
