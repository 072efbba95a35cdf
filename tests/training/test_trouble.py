"""What goes wrong around a run ends it in one line that says what to change, and the former checkpoint stays good."""

import contextlib
import itertools
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import mge
from mge.cli import main
from mge.config import TrainConfig
from mge.data.loader import Batch, load_batches
from mge.errors import DivergedError, StorageError
from mge.storage.checkpoint import load_checkpoint
from mge.storage.run_folder import Run
from mge.training import loop
from mge.training.batch_size import explain_memory
from mge.training.step import StepFigures, train_step
from tests.tiny import SHORT, digest

Arrange = Callable[[int, Callable[[], object]], None]
OPTIONS: dict[str, Any] = {**SHORT, "workers": 0, "checkpoint_steps": 1}


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "whole", **OPTIONS)


@pytest.fixture
def happens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arrange]:
    """Lets something happen before the given step."""

    def arrange(number: int, event: Callable[[], object]) -> None:
        count = iter(range(1, 1000))

        def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            done = next(count)
            if done == number:
                event()
            return train_step(*args, **options)

        monkeypatch.setattr(loop, "train_step", step)

    yield arrange
    monkeypatch.undo()


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Lets the system refuse files of more than some bytes, as a full disk would."""
    previous_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, previous)
    signal.signal(signal.SIGXFSZ, previous_signal)


def test_where_files_may_not_grow_the_former_checkpoint_stays_and_the_run_goes_on_later(
    photos: Path,
    whole: Run,
    tmp_path: Path,
    happens: Arrange,
    file_limit: Callable[[int], None],
) -> None:
    happens(3, lambda: file_limit(100_000))
    with pytest.raises(StorageError, match=r"last\.ckpt was not written: File too large; check") as stopped:
        mge.train(photos, out=tmp_path / "run", **OPTIONS)
    assert stopped.value.exit_code == 74
    assert load_checkpoint(Run(tmp_path / "run").checkpoint_path)["position"]["batch"] == 2
    assert not list((tmp_path / "run").rglob("*.unfinished"))
    file_limit(resource.RLIM_INFINITY)
    assert digest(mge.train(resume=tmp_path / "run").last) == digest(whole.last)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB of its own, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_space(
    photos: Path,
    whole: Run,
    small_disk: Path,
    happens: Arrange,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fill() -> None:
        free = shutil.disk_usage(small_disk).free
        (small_disk / "other").write_bytes(bytes(free - 100_000))

    happens(3, fill)
    options = [f"--{name}={value}".lower() for name, value in OPTIONS.items()]
    assert main(["train", str(photos), "--out", str(small_disk / "run"), *options]) == 74
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the disk is full (0 MB left)" in line
    assert "last.ckpt was not written" in line
    assert f"free some space and try again, then resume with: mge train --resume {small_disk / 'run'}" in line
    assert load_checkpoint(Run(small_disk / "run").checkpoint_path)["position"]["batch"] == 2
    assert not list(small_disk.rglob("*.unfinished"))
    (small_disk / "other").unlink()
    assert digest(mge.train(resume=small_disk / "run").last) == digest(whole.last)


def test_a_disk_that_may_only_be_read_stops_the_run(photos: Path, small_disk: Path, happens: Arrange) -> None:
    def remount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", str(small_disk)], check=True)

    happens(2, lambda: remount("ro"))
    with pytest.raises(StorageError, match=r"was not written: Read-only file system; check the folder and its perm"):
        mge.train(photos, out=small_disk / "run", **OPTIONS)
    with pytest.raises(StorageError, match="Read-only file system"):
        mge.train(photos, out=small_disk / "other", **OPTIONS)
    remount("rw")
    assert load_checkpoint(Run(small_disk / "run").checkpoint_path)["position"]["batch"] == 1


def test_a_run_folder_that_vanishes_is_not_made_again(photos: Path, tmp_path: Path, happens: Arrange) -> None:
    happens(2, lambda: (tmp_path / "run").rename(tmp_path / "moved"))
    with pytest.raises(
        StorageError, match=r"the run folder .*run no longer exists; restore it, then resume with: mge train --re"
    ):
        mge.train(photos, out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_within_a_step_and_leaves_the_checkpoint_from_before(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> StepFigures:  # noqa: ANN401
        measured = train_step(*args, **options)
        return measured._replace(losses=measured.losses * math.inf) if next(count) == 3 else measured

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(DivergedError, match=r"the loss is not finite in batch 3 of epoch 1.*--clip-norm") as stopped:
        mge.train(photos, out=tmp_path / "run", **OPTIONS)
    assert stopped.value.exit_code == 3
    assert load_checkpoint(Run(tmp_path / "run").checkpoint_path)["position"]["batch"] == 2
    assert next(count) == 4


def test_where_there_is_no_checkpoint_yet_none_is_promised(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*args: Any, **options: Any) -> StepFigures:  # noqa: ANN401
        measured = train_step(*args, **options)
        return measured._replace(losses=measured.losses * math.inf)

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(DivergedError, match=r"set --clip-norm 1, and start a new run$"):
        mge.train(photos, out=tmp_path / "run", **OPTIONS)


def test_weights_that_are_no_numbers_are_not_written_over_good_ones(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient may overflow where the loss was finite; the loss of the next step would tell, too late."""
    count = iter(range(1, 1000))

    def step(fabric: Any, network: Any, *args: Any, **options: Any) -> StepFigures:  # noqa: ANN401
        measured = train_step(fabric, network, *args, **options)
        if next(count) == 3:
            next(network.model.parameters()).grad.fill_(math.nan)
        return measured

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(DivergedError, match=r"the weights are not finite after batch 3 of epoch 1.*--clip-norm"):
        mge.train(photos, out=tmp_path / "run", **OPTIONS)
    saved = load_checkpoint(Run(tmp_path / "run").checkpoint_path)
    assert saved["position"]["batch"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB, other allocations: 1.00 GB, max allowed: ..."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
    ),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_every_error_that_memory_runs_out_with_is_known_as_such(error: Exception) -> None:
    with (
        pytest.raises(mge.OutOfMemoryError, match="there is not enough memory for a batch of 4 photos"),
        explain_memory(TrainConfig(batch_size=4)),
    ):
        raise error


def test_where_memory_runs_out_it_is_said_what_needs_less(
    photos: Path, tmp_path: Path, happens: Arrange, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OUT_OF_MEMORY[0]

    happens(2, fail)
    options = [f"--{name}={value}".lower() for name, value in OPTIONS.items()]
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *options]) == 71
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "there is not enough memory for a batch of 4 photos" in line
    assert (
        "--batch-size auto finds one that fits; the same effective batch size with half the memory: --batch-size 2 "
        "--accumulate 2" in line
    )


def test_another_runtime_error_is_a_bug_and_keeps_its_traceback(photos: Path, tmp_path: Path, happens: Arrange) -> None:
    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    happens(2, fail)
    with pytest.raises(RuntimeError, match="mat1"):
        mge.train(photos, out=tmp_path / "run", **OPTIONS)


def test_a_reading_process_that_the_system_kills_is_said_to_be_that(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system kills such a process where memory runs out, and says nothing."""
    main_process = os.getpid()

    def die(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        assert os.getpid() != main_process
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("mge.data.dataset.PhotoDataset.__getitem__", die)
    with pytest.raises(mge.OutOfMemoryError, match=r"a data-loading process was killed.*--workers 1"):
        mge.train(photos, out=tmp_path / "run", **{**OPTIONS, "workers": 2})


@pytest.mark.parametrize("num_steps", [0, 2])
def test_a_signal_stops_a_run_whose_photos_never_come_and_it_goes_on_later(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_steps: int
) -> None:
    """As where a process that reads photos hangs."""

    def hang(*args: Any, **options: Any) -> Iterator[Batch]:  # noqa: ANN401
        yield from itertools.islice(load_batches(*args, **options), num_steps)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(loop, "load_batches", hang)
    done = f"after batch {num_steps} of epoch 1" if num_steps else "before the first batch"
    with pytest.raises(mge.Interrupted, match=f"interrupted {done}; checkpoint saved; resume with") as stopped:
        mge.train(photos, out=tmp_path / "run", **OPTIONS)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert digest(mge.train(resume=tmp_path / "run").last) == digest(whole.last)


def test_a_reading_process_that_has_just_begun_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    """PyTorch's own watch takes whoever is its parent at that moment for the run, be it already the system's first."""
    script = """
import os, time
import torch
from torch.utils.data import TensorDataset
from mge.data.loader import load_batches
def begin(): print(os.getpid(), flush=True); time.sleep(2)
os.register_at_fork(after_in_child=begin)
photos = TensorDataset(torch.zeros(4))
photos.side = 8
next(iter(load_batches(photos, [[0, 1], [2, 3]], epoch=0, workers=1)))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reader = psutil.Process(int(process.stdout.readline()))
        process.kill()
        assert psutil.wait_procs([reader], timeout=30)[1] == []


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_no_reading_process_outlives_the_run(photos: Path, tmp_path: Path, sent: signal.Signals) -> None:
    options = {**SHORT, "workers": 2, "cache": "no", "epochs": 1000}
    script = "import json, sys, mge; mge.train(sys.argv[1], out=sys.argv[2], **json.loads(sys.argv[3]))"
    command = [sys.executable, "-c", script, str(photos), str(tmp_path / "run"), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        family: list[psutil.Process] = []
        latest = time.monotonic() + 120
        while len(family) < 2 or not (tmp_path / "run" / "metrics.csv").exists():
            assert process.poll() is None
            assert time.monotonic() < latest
            time.sleep(0.1)
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(sent)
        process.communicate(timeout=60)
    patience = 2 if sent == signal.SIGTERM else 10  # without a word, they look for their parent every 5 seconds
    assert psutil.wait_procs(family, timeout=patience)[1] == []


def test_without_a_right_to_write_nothing_is_left(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="was not written: Not a directory; check its parent folder"):
        mge.train(photos, out=tmp_path / "file" / "run", **OPTIONS)
    with contextlib.suppress(NotADirectoryError):
        assert not (tmp_path / "file" / "run").exists()


def test_a_batch_size_that_fits_is_found_written_down_and_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**SHORT, "batch_size": "auto", "epochs": 1}
    run = mge.train(photos, out=tmp_path / "run", **options)
    assert run.config()["batch_size"] == 8  # of 15 training photos
    assert "batch size 8 (auto)" in capsys.readouterr().out
    monkeypatch.setattr("mge.training.batch_size.free_memory", lambda: 0)
    with pytest.raises(mge.OutOfMemoryError, match="not enough memory to train on one photo at a time"):
        mge.train(photos, out=tmp_path / "none", **options)
    (run.folder / "summary.json").unlink()
    assert mge.train(resume=run.folder).config()["batch_size"] == 8


@pytest.mark.parametrize("batch_size", [0, "many", 2.5, True])
def test_a_batch_size_is_a_number_or_auto(photos: Path, tmp_path: Path, batch_size: object) -> None:
    with pytest.raises(
        mge.ConfigError, match=r"batch_size is .*; accepted: (at least 1|a whole number, at least 1, or auto)$"
    ):
        mge.train(photos, out=tmp_path / "run", **{**SHORT, "batch_size": batch_size})
