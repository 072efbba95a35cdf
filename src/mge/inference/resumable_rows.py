"""Progress of long jobs, stored continuously: a killed job resumes where it stopped, several processes share the work.

Each process appends its rows to a file of its own, one JSON object per line. Item i belongs to the process with rank
i modulo their number, whichever process has worked on it before: so no item is lost, and none is done twice, without
communication between the processes. When all rows are there, the first process merges them in order.

A row belongs to its item by a key, which identifies the item completely: a changed item is computed again; rows of
unchanged items are kept, also if others were added or removed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

import psutil

from mge.errors import StorageError
from mge.storage.files import write_text_atomically

PLAN = "plan.json"
COMPLETED = "completed"  # time at which the rows were merged, in a plan that late processes may still read
ITEMS = "items"  # in a plan: hash of the list of items
KEY = "key"  # of a row's item
POLL_SECONDS = 0.2
Place = tuple[Path, int]  # a file, and the offset of a line


class Parts:
    """The rows finished so far of an incomplete file, read when the context is entered.

    Args:
        target: The file that the rows will become. They are kept in a folder beside it.
        plan: Everything besides the items that determines the rows, as plain values: rows of another plan are
            discarded.
        keys: Unique keys of the items. Rows are kept whose keys are among them.
        rank: Rank of this process.
        num_processes: Number of processes that share the work.

    Raises:
        StorageError: another process is doing the same work, or the folder cannot be written to.
    """

    def __init__(
        self, target: Path, *, plan: dict[str, Any], keys: Sequence[str], rank: int = 0, num_processes: int = 1
    ) -> None:
        self.folder = target.with_name(f".{target.name}.parts")
        self.keys, self.rank, self.num_processes = keys, rank, num_processes
        self._numbers = {key: number for number, key in enumerate(keys)}
        self.plan = {**plan, ITEMS: hashlib.sha256("\n".join(keys).encode()).hexdigest()}
        self.was_begun_otherwise = False
        self.done: set[int] = set()
        self.mine: list[int] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._take_lock())
            self.was_begun_otherwise = self._prepare(self.plan)
            self.done = {number for number, _ in self._lines()}
            if COMPLETED not in _read_plan(self.folder / PLAN):
                every = range(self.rank, len(self.keys), self.num_processes)
                self.mine = [number for number in every if number not in self.done]
            file = self.folder / f"{self.rank}-of-{self.num_processes}.jsonl"
            _cut_torn_line(file)
            self._out = stack.enter_context(file.open("ab"))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._open.close()

    def append(self, number: int, row: dict[str, Any]) -> None:
        """Store the row of an item; it survives the end of this process, in whatever way.

        Raises:
            StorageError: the disk is full.
        """
        try:
            self._out.write(json.dumps({KEY: self.keys[number], **row}).encode() + b"\n")
            self._out.flush()
        except OSError as error:
            raise StorageError(
                f"{self.folder} cannot be written: {error.strerror}; free some space and run the same command again"
            ) from error

    def wait_for_all(self) -> None:
        """Wait until every item has its row, also those of the other processes."""
        while True:
            started = time.monotonic()
            if len({number for number, _ in self._lines()}) == len(self.keys):
                return
            time.sleep(max(POLL_SECONDS, 10 * (time.monotonic() - started)))  # scanning takes long with many rows

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every item's row, in order."""
        places = dict(self._lines())
        opened = {file: file.open("rb") for file in self._files()}
        try:
            for number in range(len(self.keys)):
                file, start = places[number]
                opened[file].seek(start)
                row: dict[str, Any] = json.loads(opened[file].readline())
                del row[KEY]
                yield row
        finally:
            for each in opened.values():
                each.close()

    def finish(self) -> None:
        """Remove the rows, once the file is complete.

        With several processes, the plan stays with a mark, from which late processes see that there is nothing to do.
        """
        if self.num_processes > 1:
            plan = {**_read_plan(self.folder / PLAN), COMPLETED: time.time()}
            write_text_atomically(self.folder / PLAN, json.dumps(plan))
            for file in self._files():
                file.unlink()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take_lock(self) -> IO[bytes]:
        """Lock this rank's share against other processes, such as one that has outlived its torchrun."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / f"{self.rank}.lock").open("wb")
        except OSError as error:
            raise StorageError(f"{self.folder} was not written: {error.strerror}; check its parent folder") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StorageError(
                f"another process is using {self.folder}; wait until it ends, stop it, or give another file"
            ) from error
        return lock

    def _prepare(self, plan: dict[str, Any]) -> bool:
        """Create the folder in the first process, while the others wait for it.

        Returns:
            Whether there were rows of another plan, which have been removed.
        """
        file = self.folder / PLAN
        if self.rank:
            while not _is_current(_read_plan(file), plan):
                time.sleep(POLL_SECONDS)
            return False
        found = _read_plan(file)
        if found == plan:
            return False
        is_other = {**found, ITEMS: ""} != {**plan, ITEMS: ""}
        for part in self._files() if is_other else ():
            part.unlink()
        write_text_atomically(file, json.dumps(plan))
        return bool(found) and is_other and COMPLETED not in found

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _lines(self) -> Iterator[tuple[int, Place]]:
        """Yield the item number of each complete row that still has an item, and its position."""
        for file in self._files():
            with file.open("rb") as opened:
                start = 0
                for line in opened:
                    number = self._numbers.get(_key_of(line))
                    if number is not None:
                        yield number, (file, start)
                    start += len(line)


def _key_of(line: bytes) -> str:
    """Return the key of a row's item; empty for an incomplete line."""
    try:
        key = json.loads(line)[KEY]
    except (ValueError, LookupError, TypeError):
        return ""
    return key if isinstance(key, str) and line.endswith(b"\n") else ""


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or truncated by a full disk
        return {}
    return plan


def _is_current(found: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Return whether a plan is that of the current first process: not of another job, nor of a previous run."""
    started = psutil.Process().create_time()
    return {**found, COMPLETED: 0} == {**plan, COMPLETED: 0} and found.get(COMPLETED, started) >= started


def _cut_torn_line(file: Path) -> None:
    """Truncate the incomplete line that a killed process left."""
    if not file.exists():
        return
    with file.open("r+b") as opened:
        end = opened.seek(0, os.SEEK_END)
        kept = 0
        step = 1 << 16
        for start in range((end // step) * step, -1, -step):
            opened.seek(start)
            place = opened.read(min(step, end - start)).rfind(b"\n")
            if place >= 0:
                kept = start + place + 1
                break
        opened.truncate(kept)
