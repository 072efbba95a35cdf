"""What a process takes for itself: the container's limits count, and processes on one machine share."""

import os
from pathlib import Path

import psutil
import pytest

from mge.data.machine import free_memory, free_shared_memory, num_cores, num_processes


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
def test_without_limits_the_cores_that_it_may_run_on_count(tmp_path: Path) -> None:
    assert num_cores(tmp_path) == 8


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("?", 8)])
def test_a_containers_quota_of_cores_counts(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert num_cores(tmp_path) == cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("name", "said", "cores"), [("LOCAL_WORLD_SIZE", "4", 2), ("WORLD_SIZE", "16", 1)])
def test_processes_on_one_machine_share_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, cores: int
) -> None:
    monkeypatch.setenv(name, said)
    assert num_processes() == int(said)
    assert num_cores(tmp_path) == cores


def test_where_nobody_says_so_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_processes() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    assert num_processes() == 1


def test_a_machine_that_cannot_say_which_cores_are_allowed_counts_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert num_cores(tmp_path) == 6


def test_a_containers_limit_of_memory_counts_and_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory(tmp_path) <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("0\n")
    assert free_memory(tmp_path) == 1_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_memory(tmp_path) == 250_000


def test_what_a_container_uses_already_is_not_free_but_for_files_that_it_keeps_in_mind(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    assert free_memory(tmp_path) == 300_000
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_anon 1\nactive_file 50000\ninactive_file 150000\n")
    assert free_memory(tmp_path) == 450_000
    (tmp_path / "memory.current").write_text("2000000\n")
    assert free_memory(tmp_path) == 0


def test_shared_memory_is_that_of_its_folder_and_none_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_shared_memory(tmp_path) > 0
    assert free_shared_memory(tmp_path / "none") == 0
    monkeypatch.setattr("sys.platform", "darwin")  # where it is no folder
    assert 0 < free_shared_memory(tmp_path / "none") <= psutil.virtual_memory().total
