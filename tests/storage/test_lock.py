"""One process writes to a run or a model at a time; the others are told which one."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mge.errors import InUseError, StorageError
from mge.storage import lock
from mge.storage.lock import hold, is_lost
from mge.storage.run_folder import Run, hold_model

HOLD = """
import sys, time
from pathlib import Path
from mge.storage.lock import hold
with hold(Path(sys.argv[1]), what=Path("runs/birds"), lasts=sys.argv[2] == "long"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(file: Path, how_long: str) -> subprocess.Popen[str]:
    """Another process that holds a lock."""
    command = [sys.executable, "-c", HOLD, str(file), how_long]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with holder(tmp_path / ".lock", "long") as process:
        yield process
        process.kill()


def test_who_holds_it_for_long_is_named_at_once_and_death_sets_it_free(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(InUseError) as refused, hold(tmp_path / ".lock", what=Path("runs/birds")):
        pass
    line = str(refused.value)
    assert line.startswith(f"runs/birds is in use by process {other.pid} on {socket.gethostname()} since 20")
    assert line.endswith("; wait until it ends, or stop it")
    assert "\n" not in line
    assert refused.value.exit_code == 75
    other.kill()
    other.wait()
    with hold(tmp_path / ".lock", what=tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_who_holds_it_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with holder(tmp_path / ".lock", "moment") as process:
        started = time.monotonic()
        threading.Timer(0.3, process.kill).start()
        with hold(tmp_path / ".lock", what=tmp_path):
            assert time.monotonic() - started > 0.2
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    with holder(tmp_path / ".lock", "moment") as process:
        with pytest.raises(InUseError), hold(tmp_path / ".lock", what=tmp_path):
            pass
        process.kill()


def test_threads_exclude_each_other_and_none_itself(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def want() -> None:
        try:
            with hold(tmp_path / ".lock", what=tmp_path):
                pass
        except InUseError as error:
            caught.append(error)

    with hold(tmp_path / ".lock", what=tmp_path, lasts=True), hold(tmp_path / ".lock", what=tmp_path):
        thread = threading.Thread(target=want)
        thread.start()
        thread.join()
        assert (tmp_path / ".lock").exists()
    assert len(caught) == 1
    want()
    assert len(caught) == 1


def test_a_process_that_reads_photos_does_not_hold_it_on(tmp_path: Path) -> None:
    with hold(tmp_path / ".lock", what=tmp_path, lasts=True):
        reader = os.fork()
        if not reader:
            time.sleep(60)
            os._exit(0)
    try:
        with hold(tmp_path / ".lock", what=tmp_path):
            pass
    finally:
        os.kill(reader, 9)
        os.waitpid(reader, 0)


def test_a_folder_that_took_the_place_of_the_locked_one_is_not_touched(tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    run.mkdir()
    with hold(run / ".lock", what=run):
        run.rename(moved)
        assert not is_lost(run / ".lock")
        run.mkdir()
        (run / ".lock").write_text("of another process")
        assert is_lost(run / ".lock")
    assert (run / ".lock").read_text() == "of another process"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 0, "host": "elsewhere"}'])
def test_a_lock_file_that_says_nothing_is_one_line_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    (tmp_path / ".lock").write_text(content)
    with (tmp_path / ".lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = r"is in use by (another process|process 0 on elsewhere).*; wait until"
        with pytest.raises(InUseError, match=said), hold(tmp_path / ".lock", what=tmp_path):
            pass


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    said = r"cannot be locked: .*\.lock was not written: No such file"
    with pytest.raises(StorageError, match=said), hold(tmp_path / "none" / ".lock", what=tmp_path / "none"):
        pass


def test_a_file_system_without_locks_is_said_to_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:  # noqa: ANN401
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path / ".lock", what=tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "is on a file system without locks (No locks available); do not let another process write to it"
    )


def test_where_only_what_can_be_written_is_locked_as_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    previous = fcntl.flock
    modes: list[int] = []

    def refuse(handle: int, how: int) -> None:
        modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)
        if modes[-1] == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        previous(handle, how)

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path / ".lock", what=tmp_path):
        assert modes == [os.O_RDONLY, os.O_RDWR]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", ""),
        ("nfs", "rw,vers=3,local_lock=all", "is valid on this machine only (nfs, local_lock=all)"),
        ("nfs", "rw,nolock", "is valid on this machine only (nfs, nolock)"),
        ("fuse.sshfs", "rw", "is valid on this machine only (fuse.sshfs)"),
    ],
)
def test_a_lock_that_other_machines_do_not_see_is_said_to_be_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    options: str,
    said: str,
) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4", opts="rw"),
        SimpleNamespace(mountpoint=str(tmp_path.resolve()), fstype=kind, opts=options),
    ]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounts)  # noqa: A006
    with hold(tmp_path / ".lock", what=tmp_path):
        pass
    assert said in capsys.readouterr().err


def test_a_model_of_a_run_is_locked_with_the_run_and_one_by_itself_beside_itself(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", config={})
    part = Run.create(run.folder / "plain", config={})
    student = Run.create(run.folder / "student", config={})
    assert part.lock_path == run.lock_path == run.folder / ".lock"
    assert student.lock_path == student.folder / ".lock"
    for folder, file in (
        (run.best, run.lock_path), (part.best, run.lock_path), (tmp_path / "model", tmp_path / ".model.lock"),
    ):  # fmt: skip
        with hold_model(folder):
            assert file.exists()
        assert not file.exists()
    (tmp_path / "link").symlink_to(run.best)
    with hold_model(tmp_path / "link"):
        assert run.lock_path.exists()


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder"])
def test_a_lock_file_that_is_none_is_refused_and_nothing_behind_it_is_lost(tmp_path: Path, kind: str) -> None:
    """Who unpacks a run of somebody else may have a link to a file of his own in it."""
    own, file = tmp_path / "own.txt", tmp_path / ".lock"
    own.write_text("mine")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(own if kind == "link" else tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"cannot be locked: .*lock "), hold(file, what=tmp_path):
        pass
    assert own.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "own.txt"]
