"""Work that takes hours, kept as it is done: a killed run goes on where it stopped, several processes share the work.

Each process appends the rows that it has made to a file of its own, a JSON object a line. Item number i is the business
of process i modulo their number, whoever has worked at it before: so no item is lost, and none is done twice, without a
word between the processes. When all rows are there, the first process puts them together in order.

A row belongs to its item by a key, which says all that the item is: where an item has changed, its row is made anew;
rows of items that are the same are kept, also where others have come or gone.
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
COMPLETED = "completed"  # when the rows were put together, in a plan that processes may still come late to
ITEMS = "items"  # in a plan: what tells one list of items from another
KEY = "key"  # of a row's item
POLL_SECONDS = 0.2
Place = tuple[Path, int]  # a file, and where a line begins in it


class Parts:
    """The rows made so far of a file that is not complete. What it knows it learns when it is entered.

    Args:
        target: The file that the rows will become. They are kept in a folder beside it.
        plan: What decides the rows beside their items, as plain values: rows of another plan are thrown away.
        keys: What there is to do, by keys that differ. Rows are kept whose keys are among them.
        rank: Number of this process.
        num_processes: How many share the work.

    Raises:
        StorageError: another process is at the same work, or the folder cannot be written to.
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
        """Keeps the row of an item; it survives the end of this process, however that comes.

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
        """Waits until every item has its row, also those of the other processes."""
        while True:
            started = time.monotonic()
            if len({number for number, _ in self._lines()}) == len(self.keys):
                return
            time.sleep(max(POLL_SECONDS, 10 * (time.monotonic() - started)))  # looking takes long where rows are many

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every item's row, in order."""
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
        """Removes the rows, once the file is complete.

        Where several processes work, the plan stays with a note: one that comes late sees that there is nothing to do.
        """
        if self.num_processes > 1:
            plan = {**_read_plan(self.folder / PLAN), COMPLETED: time.time()}
            write_text_atomically(self.folder / PLAN, json.dumps(plan))
            for file in self._files():
                file.unlink()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _take_lock(self) -> IO[bytes]:
        """Keeps others away who would do the same share: a process of torchrun, say, that has outlived it."""
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
        """Makes the folder; the first process does, and the others wait for it.

        Returns:
            Whether there were rows of another plan, which are gone now.
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
        """The number of each complete row that still has an item, and where it is."""
        for file in self._files():
            with file.open("rb") as opened:
                start = 0
                for line in opened:
                    number = self._numbers.get(_key_of(line))
                    if number is not None:
                        yield number, (file, start)
                    start += len(line)


def _key_of(line: bytes) -> str:
    """The key of a row's item; empty for a line that was not written to its end."""
    try:
        key = json.loads(line)[KEY]
    except (ValueError, LookupError, TypeError):
        return ""
    return key if isinstance(key, str) and line.endswith(b"\n") else ""


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or one of a disk that was full
        return {}
    return plan


def _is_current(found: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Whether a plan is that of the first process of this run: neither another's, nor that of a former run."""
    started = psutil.Process().create_time()
    return {**found, COMPLETED: 0} == {**plan, COMPLETED: 0} and found.get(COMPLETED, started) >= started


def _cut_torn_line(file: Path) -> None:
    """Takes away what was written of a line when the process was killed."""
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
