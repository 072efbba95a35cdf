"""A result replaces an older result and nothing else, and that is known before any work begins."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from mge.errors import ConfigError, StorageError
from mge.storage.files import write_folder_atomically, write_text_atomically
from mge.storage.output import check_file, check_folder, is_stream, write_output


@pytest.fixture
def read(tmp_path: Path) -> Path:
    """A file that is read."""
    file = tmp_path / "photos.parquet"
    file.write_text("photos")
    return file


def test_a_new_file_and_an_older_result_are_accepted_and_left_alone(tmp_path: Path) -> None:
    assert check_file(tmp_path / "new" / "p.csv", flag="output") == tmp_path / "new" / "p.csv"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "p.csv").write_text("older")
    assert check_file(str(tmp_path / "p.csv"), flag="output", inputs=["nowhere.jpg"]) == tmp_path / "p.csv"
    assert (tmp_path / "p.csv").read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "how", ["itself", "another spelling", "hard link", "link", "link in the input", "linked folder"]
)
def test_a_file_that_is_read_is_refused_by_whatever_name(read: Path, how: str) -> None:
    folder, other = read.parent, read.parent / "other.parquet"
    names = {"itself": (read, read), "another spelling": (folder / "." / ".." / folder.name / read.name, read)}
    if how == "hard link":
        other.hardlink_to(read)
    elif "link" in how:
        other.symlink_to(read.name)
    (folder / "linked").symlink_to(folder)
    names |= {"hard link": (other, read), "link": (other, read), "link in the input": (read, other)}
    names["linked folder"] = (folder / "linked" / read.name, read)
    output, given = names[how]
    with pytest.raises(
        ConfigError, match=r"^output is '.*parquet', which is also an input and would be overwritten; give"
    ):
        check_file(output, flag="output", inputs=["nowhere", given])
    assert read.read_text() == "photos"


def test_a_link_is_written_through_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("there.csv", "not yet.csv"):
        link = tmp_path / f"link to {name}"
        link.symlink_to(Path("elsewhere") / name)
        (tmp_path / "elsewhere" / "there.csv").write_text("older")
        assert check_file(link, flag="output") == tmp_path.resolve() / "elsewhere" / name
        write_output(link, "new")
        assert link.is_symlink()
        assert (tmp_path / "elsewhere" / name).read_text() == "new"
    folder = tmp_path / "folder"
    folder.symlink_to("elsewhere/export")
    for name in ("first", "second"):
        write_folder_atomically(folder, lambda new: (new / "a").touch())
        assert folder.is_symlink()
        assert [path.name for path in (tmp_path / "elsewhere" / "export").iterdir()] == ["a"], name


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    with pytest.raises(StorageError, match="circular link"):
        check_file(tmp_path / "a.csv", flag="output")
    with pytest.raises(StorageError, match="circular link"):
        write_text_atomically(tmp_path / "a.csv", "x")


def test_a_folder_a_socket_and_a_path_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is a folder; give a file, in it or elsewhere"):
        check_file(tmp_path, flag="output")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="which exists and is not a file; give another name"):
            check_file(tmp_path / "s", flag="output", streams=True)
        with pytest.raises(StorageError, match="it exists and is not a file"):
            write_text_atomically(tmp_path / "s", "x")
    for text in ("", "a\0b"):
        with pytest.raises(ConfigError, match="which is not a path"):
            check_file(text, flag="output")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/p.csv", "Not a directory"), ("dangling/p.csv", "No such file"),
        ("x" * 240 + ".csv", "File name too long"), ("/proc/p.csv", "No such file"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_known_at_once(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(StorageError, match=f"(?i)^output is '.*', which cannot be written: {reason}"):
        check_file(tmp_path / name, flag="output")


def test_parts_of_a_model_a_run_and_an_export_are_refused(tmp_path: Path) -> None:
    for first, part in (("config.yaml", "metrics.csv"), ("model.json", "model.json"), ("model.json", "README.md"),
                        ("preprocessing.json", "model.onnx"), ("last.ckpt", "last.ckpt.sha256")):  # fmt: skip
        folder = tmp_path / first
        folder.mkdir(exist_ok=True)
        (folder / first).write_text("{}")
        with pytest.raises(ConfigError, match="is part of a model or run folder; give another file"):
            check_file(folder / part, flag="output")
        assert check_file(folder / "mine.csv", flag="output") == folder / "mine.csv"


def test_streams_are_written_into_where_a_command_can_and_refused_elsewhere(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    for path in (pipe, Path("/dev/null")):
        with pytest.raises(ConfigError, match="which is a pipe or a device; give a file"):
            check_file(path, flag="out")
        assert check_file(path, flag="out", streams=True) == path
        write_output(path, "text")
    reader.join(10)
    assert got == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert Path("/dev/null").is_char_device()


def test_an_open_file_of_a_process_is_a_stream_whose_content_stays(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        log.write("before\n")
        log.flush()
        descriptor = Path(f"/dev/fd/{log.fileno()}")
        (tmp_path / "link").symlink_to(descriptor)
        for name in (descriptor, Path(f"/proc/self/fd/{log.fileno()}"), tmp_path / "link"):
            assert is_stream(name)
            write_output(check_file(name, flag="out", streams=True), "text\n")
    assert (tmp_path / "log").read_text() == "before\n" + 3 * "text\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_a_full_device_is_one_line() -> None:
    with pytest.raises(StorageError, match="/dev/full was not written completely: No space left on device"):
        write_output(Path("/dev/full"), "text")


def test_a_pipe_without_a_reader_is_said_to_be_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_output, args=(pipe, "text"))
    writer.start()
    while "waiting for a reader" not in capsys.readouterr().err:
        writer.join(0.05)
    assert pipe.read_text() == "text"
    writer.join(10)


def test_a_folder_holds_nothing_that_is_read_and_would_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "link").symlink_to("shelf")
    given = [tmp_path / "shelf" / "a.png", tmp_path / "b.png"]
    for folder in ("shelf", "link"):
        with pytest.raises(ConfigError, match=r"but 'a\.png' there is an input and would be lost; give another folder"):
            check_folder(tmp_path / folder, flag="output", inputs=given, writes=("*.png",))
    assert check_folder(tmp_path / "shelf", flag="output", inputs=given, writes=("boxes.csv",)) == tmp_path / "shelf"
    with pytest.raises(ConfigError, match="which exists and is not a folder"):
        check_folder(__file__, flag="output")
    os.mkfifo(tmp_path / "shelf" / "boxes.csv")
    with pytest.raises(StorageError, match=r"boxes\.csv was not written: it exists and is not a file"):
        check_folder(tmp_path / "shelf", flag="output", writes=("boxes.csv",))


def test_a_folder_of_pictures_may_not_lie_among_the_photos(tmp_path: Path) -> None:
    for name in ("photos", "photos/explained"):
        with pytest.raises(ConfigError, match="which is an input: the output would be read as photos next time"):
            check_folder(tmp_path / name, flag="output", inputs=[tmp_path, "beetles"], apart=True)
    (tmp_path / "photos").mkdir()
    assert check_folder(tmp_path / "shelf", flag="output", inputs=[tmp_path / "photos"], apart=True)


def test_nothing_is_lost_where_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(StorageError, match="it exists and is not a folder"):
        write_folder_atomically(tmp_path / "notes", lambda new: (new / "a").touch())
    assert (tmp_path / "notes").read_text() == "mine"
