"""Rows that were made are never made again and never lost, however a process ends."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mge.errors import StorageError
from mge.inference.resumable_rows import Parts


def open_parts(target: Path, *, num_items: int = 5, **options: Any) -> Parts:  # noqa: ANN401
    plan = options.pop("plan", {"model": "a"})
    keys = options.pop("keys", [f"item {number}" for number in range(num_items)])
    return Parts(target, plan=plan, keys=keys, **options)


def fill(parts: Parts, numbers: list[int] | None = None) -> None:
    """Makes some rows, or all of the process's own, and ends."""
    with parts:
        for number in parts.mine if numbers is None else numbers:
            parts.append(number, {"value": number * number})


def mine(target: Path, **options: Any) -> list[int]:  # noqa: ANN401
    with open_parts(target, **options) as parts:
        return parts.mine


def rows_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / ".out.csv.parts").glob("*.jsonl")
    return file


def test_rows_come_back_in_order_and_the_folder_goes(tmp_path: Path) -> None:
    with open_parts(tmp_path / "out.csv") as parts:
        assert parts.mine == [0, 1, 2, 3, 4]
        for number in (3, 0, 4, 2, 1):
            parts.append(number, {"value": number * number})
        parts.wait_for_all()
        assert list(parts.rows()) == [{"value": number * number} for number in range(5)]
        parts.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_where_a_former_one_stopped(tmp_path: Path) -> None:
    fill(open_parts(tmp_path / "out.csv"), [0, 1, 2])
    with open_parts(tmp_path / "out.csv") as again:
        assert again.done == {0, 1, 2}
        assert again.mine == [3, 4]
        assert not again.was_begun_otherwise


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_line_that_was_not_written_to_its_end_is_written_again(tmp_path: Path, cut: int) -> None:
    fill(open_parts(tmp_path / "out.csv", num_items=3), [0, 1])
    file = rows_file(tmp_path)
    file.write_bytes(file.read_bytes()[:-cut])
    assert mine(tmp_path / "out.csv", num_items=3) == [1, 2]
    fill(open_parts(tmp_path / "out.csv", num_items=3))
    with open_parts(tmp_path / "out.csv", num_items=3) as again:
        assert list(again.rows()) == [{"value": 0}, {"value": 1}, {"value": 4}]
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    fill(open_parts(tmp_path / "out.csv", num_items=2), [0])
    file = rows_file(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"key": "item 1", "value": "' + b"x" * 200_000)
    fill(open_parts(tmp_path / "out.csv", num_items=2), [1])
    assert file.read_bytes() == whole + b'{"key": "item 1", "value": 1}\n'


def test_zeros_that_a_power_cut_left_are_no_row(tmp_path: Path) -> None:
    fill(open_parts(tmp_path / "out.csv", num_items=2), [0])
    file = rows_file(tmp_path)
    file.write_bytes(file.read_bytes() + b"\x00" * 50 + b"\n")
    assert mine(tmp_path / "out.csv", num_items=2) == [1]


def test_rows_of_items_that_are_the_same_are_kept_where_others_change_come_and_go(tmp_path: Path) -> None:
    fill(open_parts(tmp_path / "out.csv", keys=["a", "b", "c", "d"]), [0, 1, 2])
    with open_parts(tmp_path / "out.csv", keys=["new", "c", "a", "b, mended", "d"]) as again:
        assert again.mine == [0, 3, 4]
        assert not again.was_begun_otherwise
        for number in again.mine:
            again.append(number, {"value": -number})
        again.wait_for_all()
        assert [row["value"] for row in again.rows()] == [0, 4, 0, -3, -4]


def test_rows_of_another_plan_are_thrown_away(tmp_path: Path) -> None:
    fill(open_parts(tmp_path / "out.csv"), [0, 1])
    with open_parts(tmp_path / "out.csv", plan={"model": "b"}) as other:
        assert other.was_begun_otherwise
        assert other.done == set()


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_a_run_may_go_on_with_more_or_fewer_processes(tmp_path: Path, before: int, after: int) -> None:
    shared: dict[str, Any] = {"num_items": 11}
    done = set[int]()
    for rank in range(before):
        own = list(range(rank, 11, before))[:2]
        fill(open_parts(tmp_path / "out.csv", rank=rank, num_processes=before, **shared), own)
        done |= set(own)
    shares = [mine(tmp_path / "out.csv", rank=rank, num_processes=after, **shared) for rank in range(after)]
    assert sorted(number for share in shares for number in share) == sorted(set(range(11)) - done)
    for rank in range(after):
        fill(open_parts(tmp_path / "out.csv", rank=rank, num_processes=after, **shared))
    with open_parts(tmp_path / "out.csv", num_processes=after, **shared) as parts:
        parts.wait_for_all()
        assert [row["value"] for row in parts.rows()] == [number * number for number in range(11)]


def test_the_first_process_waits_for_the_others(tmp_path: Path) -> None:
    with open_parts(tmp_path / "out.csv", num_processes=2) as first:
        for number in first.mine:
            first.append(number, {"value": 0})

        def come_late() -> None:
            time.sleep(0.3)
            fill(open_parts(tmp_path / "out.csv", rank=1, num_processes=2))

        other = threading.Thread(target=come_late)
        other.start()
        first.wait_for_all()
        assert len(list(first.rows())) == 5
        other.join()


def test_a_process_that_comes_late_to_a_finished_run_has_nothing_to_do(tmp_path: Path) -> None:
    for rank in range(2):
        fill(open_parts(tmp_path / "out.csv", rank=rank, num_processes=2))
    with open_parts(tmp_path / "out.csv", num_processes=2) as first:
        assert first.mine == []
        first.finish()
    assert mine(tmp_path / "out.csv", rank=1, num_processes=2) == []


def test_a_process_of_the_next_run_waits_until_the_first_one_has_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_parts(tmp_path / "out.csv", num_processes=2) as first:
        first.finish()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: time.time() + 1)  # the next run starts now
    found = list[list[int]]()
    second = threading.Thread(
        target=lambda: found.append(mine(tmp_path / "out.csv", rank=1, num_processes=2)), daemon=True
    )
    second.start()
    time.sleep(0.5)
    assert not found
    assert mine(tmp_path / "out.csv", num_processes=2) == [0, 2, 4]
    second.join(5)
    assert found == [[1, 3]]


def test_two_processes_with_the_same_share_are_refused(tmp_path: Path) -> None:
    with (
        open_parts(tmp_path / "out.csv", num_processes=2),
        pytest.raises(StorageError, match=r"another process is using .*\.out\.csv\.parts; wait until it ends"),
    ):
        mine(tmp_path / "out.csv")
    assert mine(tmp_path / "out.csv") == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="was not written: Not a directory"):
        mine(tmp_path / "file" / "out.csv")
