"""Files and folders are written whole or not at all."""

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mge.errors import StorageError
from mge.storage import files
from mge.storage.files import remove_oldest, write_atomically, write_folder_atomically, write_text_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_with(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_file_is_written_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text_atomically(path, "one")
    write_text_atomically(path, "twö")
    assert path.read_text(encoding="utf-8") == "twö"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_when_writing_fails_the_former_file_stays(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("former", encoding="utf-8")

    def write(file: Path) -> None:
        file.write_text("hal", encoding="utf-8")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert path.read_text(encoding="utf-8") == "former"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"^the disk is full \(\d+ MB left\): .*a.txt was not written; free some space and try again$"),
        (errno.EDQUOT, "^the disk is full"),
        (errno.EROFS, "a.txt was not written: Read-only file system; check the folder and its permissions"),
    ],
)
def test_what_the_system_refuses_is_one_line_for_the_user(tmp_path: Path, number: int, message: str) -> None:
    def write(file: Path) -> None:
        raise fail_with(number)

    with pytest.raises(StorageError, match=message):
        write_atomically(tmp_path / "a.txt", write)
    with pytest.raises(StorageError, match=message):
        write_folder_atomically(tmp_path / "a.txt", write)
    assert names(tmp_path) == []


def test_a_path_through_a_file_is_one_line_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="was not written: "):
        write_text_atomically(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    folder = tmp_path / "model"
    write_folder_atomically(folder, lambda new: (new / "a").write_text("1", encoding="utf-8"))
    write_folder_atomically(folder, lambda new: (new / "b").write_text("2", encoding="utf-8"))
    assert names(folder) == ["b"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("exchange", [True, False])
def test_of_several_that_write_one_folder_at_once_none_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    monkeypatch.setattr(files, "_sync", lambda path: None)

    def write(number: int) -> list[int]:
        for count in range(20):
            write_folder_atomically(folders[count], lambda new: (new / "a").write_text(str(number), encoding="utf-8"))
        return [number]

    folders = [tmp_path / f"model-{count}" for count in range(20)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [[0], [1], [2], [3]]
    assert names(tmp_path) == sorted(folder.name for folder in folders)
    assert all(names(folder) == ["a"] for folder in folders)


def test_when_filling_fails_the_former_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder_atomically(folder, lambda new: (new / "a").write_text("1", encoding="utf-8"))

    def fill(new: Path) -> None:
        (new / "b").write_text("2", encoding="utf-8")
        raise fail_with(errno.ENOSPC)

    with pytest.raises(StorageError, match="disk is full"):
        write_folder_atomically(folder, fill)
    assert names(folder) == ["a"]
    assert names(tmp_path) == ["model"]


def test_what_killed_processes_left_is_removed_after_a_while(tmp_path: Path) -> None:
    old, fresh, other = (
        tmp_path / name for name in (".a-0.unfinished", ".a-1.unfinished", ".b-0.unfinished")
    )  # fmt: skip
    long_ago = time.time() - files.FORGOTTEN_AFTER - 10
    for file in (old, fresh, other):
        file.touch()
    folder = tmp_path / ".a-2.unfinished"
    folder.mkdir()
    for path in (old, other, folder):
        os.utime(path, (long_ago, long_ago))
    write_text_atomically(tmp_path / "a", "x")
    assert names(tmp_path) == [fresh.name, other.name, "a"]


def test_a_name_may_have_the_letters_of_a_pattern(tmp_path: Path) -> None:
    old = tmp_path / ".[a]**-0.unfinished"
    old.touch()
    os.utime(old, (0, 0))
    write_text_atomically(tmp_path / "[a]**", "x")
    assert names(tmp_path) == ["[a]**"]


def test_what_another_process_has_just_put_into_place_is_no_error(tmp_path: Path) -> None:
    """It is listed under its unfinished name, and gone when it is looked at, as a link to nothing is."""
    (tmp_path / ".a-0.unfinished").symlink_to(tmp_path / "gone")
    write_text_atomically(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_a_disk_too_full_for_a_folder_is_one_line_for_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise fail_with(errno.ENOSPC)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StorageError, match="the disk is full"):
        write_text_atomically(tmp_path / "new" / "report" / "a.txt", "x")


KILLED = """
import sys
from pathlib import Path
from mge.storage.files import write_atomically, write_folder_atomically
folder, number = Path(sys.argv[1]), 0
def fill(new):
    for name in "abcdefgh":
        (new / name).write_text(str(number) * 100_000)
print("ready", flush=True)
while True:
    number = (number + 1) % 10
    write_folder_atomically(folder / "model", fill)
    write_atomically(folder / "file", lambda file: file.write_text(str(number) * 1_000_000))
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05 + 0.037 * number for number in range(10)])
def test_a_kill_at_any_moment_leaves_whole_files(tmp_path: Path, delay: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    while not (tmp_path / "file").exists():
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.wait()
    process.stdout.close()
    content = (tmp_path / "file").read_text(encoding="utf-8")
    assert len(content) == 1_000_000
    assert len(set(content)) == 1
    contents = [path.read_text(encoding="utf-8") for path in (tmp_path / "model").iterdir()]
    assert len(contents) == 8
    assert len(set("".join(contents))) == 1


def test_the_oldest_files_and_folders_go_first(tmp_path: Path) -> None:
    for age in range(4):
        if age % 2:
            (tmp_path / f"{age}").touch()
        else:
            (tmp_path / f"{age}" / "inside").mkdir(parents=True)
        os.utime(tmp_path / f"{age}", (1000.0 - age, 1000.0 - age))
    remove_oldest(tmp_path.iterdir(), kept=2)
    assert names(tmp_path) == ["0", "1"]
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # another process has removed it in the meantime
    remove_oldest(tmp_path.iterdir(), kept=2)
