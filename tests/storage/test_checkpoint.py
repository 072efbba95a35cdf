"""A checkpoint comes back as it was, or is refused."""

import os
import random
import resource
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mge.errors import ModelFolderError, StorageError
from mge.storage import checkpoint
from mge.storage.checkpoint import load_checkpoint, save_checkpoint
from mge.storage.checksum import sha256
from mge.storage.files import write_text_atomically


def state(value: float = 1.0) -> dict[str, Any]:
    optimizer = {"state": {0: {"step": torch.tensor(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {"model": {"weight": torch.full((50, 10), value)}, "optimizer": optimizer, "epoch": 3, "name": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last.ckpt"


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """A system that writes no more than 64 kB of a file: what torch makes of it is what it makes of a full disk."""
    previous_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    previous_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, previous_limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, previous_limit)
    signal.signal(signal.SIGXFSZ, previous_signal)


def test_a_state_comes_back_as_it_was(path: Path) -> None:
    save_checkpoint(path, state(1.0))
    save_checkpoint(path, state(2.0))
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"].pop("weight"), torch.full((50, 10), 2.0))
    assert loaded["optimizer"]["param_groups"] == [{"lr": 0.1, "params": [0]}]
    assert (loaded["epoch"], loaded["name"]) == (3, None)
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]


def test_the_checksum_is_one_that_sha256sum_reads(path: Path) -> None:
    save_checkpoint(path, state())
    text = (path.parent / "last.ckpt.sha256").read_text(encoding="utf-8")
    assert text == f"{sha256(path)}  last.ckpt\n"


def test_any_flipped_bit_is_refused(path: Path) -> None:
    save_checkpoint(path, state())
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(100):
        position = rng.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelFolderError, match="is damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04K\x01."])
def test_what_is_no_checkpoint_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.with_name("last.ckpt.sha256").write_text(f"{sha256(path)}  last.ckpt\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"last\.ckpt is not an MGE checkpoint: .*; start a new run$"):
        load_checkpoint(path)


def test_another_zip_file_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("last/data.pkl", b"\x80\x02K\x01.")
    path.with_name("last.ckpt.sha256").write_text(f"{sha256(path)}  last.ckpt\n", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"last\.ckpt is not an MGE checkpoint"):
        load_checkpoint(path)


def test_an_archive_that_says_it_goes_on_on_another_disk_is_refused(path: Path) -> None:
    save_checkpoint(path, state())
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x06\x07") + 16] = 2  # the number of disks
    path.write_bytes(content)
    path.with_name("last.ckpt.sha256").write_text(f"{sha256(path)}  last.ckpt\n", encoding="utf-8")
    with pytest.raises(
        ModelFolderError, match=r"last\.ckpt is not an MGE checkpoint: .* multiple disks .*; start a new run$"
    ):
        load_checkpoint(path)


class Gadget:
    """What a malicious file would hold: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_malicious_checkpoint_runs_no_code(path: Path, tmp_path: Path) -> None:
    save_checkpoint(path, {"model": Gadget(tmp_path / "hacked")})
    with pytest.raises(ModelFolderError, match="is not an MGE checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_checkpoint_or_checksum_is_refused(path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"last\.ckpt does not exist"):
        load_checkpoint(path)
    save_checkpoint(path, state())
    path.with_name("last.ckpt.sha256").unlink()
    with pytest.raises(ModelFolderError, match=r"last\.ckpt\.sha256 does not exist"):
        load_checkpoint(path)


def test_a_crash_between_checksum_and_checkpoint_leaves_the_former_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(path, state(1.0))

    def write_and_crash(file: Path, text: str) -> None:
        write_text_atomically(file, text)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_text_atomically", write_and_crash)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, state(2.0))
        assert load_checkpoint(path)["model"]["weight"].unique().tolist() == [1.0]
    monkeypatch.undo()
    save_checkpoint(path, state(3.0))
    assert load_checkpoint(path)["model"]["weight"].unique().tolist() == [3.0]


@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_leaves_the_former_checkpoint(path: Path) -> None:
    save_checkpoint(path, state())
    with pytest.raises(StorageError, match=r"last\.ckpt was not written: File too large"):
        save_checkpoint(path, {"model": torch.zeros(100_000)})
    assert load_checkpoint(path)["epoch"] == 3
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.ckpt", "last.ckpt.sha256"]
