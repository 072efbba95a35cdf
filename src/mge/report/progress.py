"""How far a long job over photos is: a bar where a person watches, a line now and then where it is a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mge.report.terminal import Terminal

SECONDS_BETWEEN_LINES = 30.0
Item = TypeVar("Item")


class _Rate(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="dim")


class Lines:
    """A line on standard error now and then.

    Args:
        verb: What is done.
        total: How much there is to do.
        done: How much of it was done before.
        unit: What is counted.
        seconds: Between two lines, at least.
    """

    def __init__(self, verb: str, *, total: int, done: int = 0, unit: str = "photos", seconds: float) -> None:
        self.verb, self.total, self.done, self.unit, self.seconds = verb, total, done, unit, seconds
        self.done_first = -1
        self.started = self.shown = 0.0

    def advance(self, count: int) -> None:
        """So many more are done. What it took to begin (a graph to compile, say) says nothing about the time left."""
        now = time.monotonic()
        self.done += count
        if self.done_first < 0:
            self.started, self.shown, self.done_first = now, now, self.done
        elif now - self.shown >= self.seconds:
            rate = (self.done - self.done_first) / max(now - self.started, 1e-9)
            sys.stderr.write(f"{self.verb}: {describe(self.done, total=self.total, rate=rate, unit=self.unit)}\n")
            self.shown = now


@contextlib.contextmanager
def show_progress(verb: str, *, total: int, is_quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Shows how many photos are done, how many a second, and the time left.

    Args:
        verb: What is done with them.
        total: How many there are.
        is_quiet: Show nothing: processes other than the first.

    Yields:
        What is to be told when so many more are done.
    """
    console = Terminal(stderr=True)
    if is_quiet:
        yield lambda _: None
    elif not console.is_terminal:
        yield Lines(verb, total=total, seconds=SECONDS_BETWEEN_LINES).advance
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
                   TextColumn("left"))  # fmt: skip
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(verb, total=total)
            yield lambda count: progress.advance(task, count)


def track_photos(photos: Iterable[Item], *, verb: str, total: int, is_quiet: bool = False) -> Iterator[Item]:
    """Gives the photos on, and shows how far that is; see `show_progress`.

    Args:
        photos: What comes when a photo is done.
        verb: What is done with them.
        total: How many will come.
        is_quiet: Show nothing.
    """
    with show_progress(verb, total=total, is_quiet=is_quiet) as advance:
        for photo in photos:
            yield photo
            advance(1)


def describe(done: int, *, total: int, rate: float, unit: str) -> str:
    """How far a job is, in words."""
    left = (total - done) / rate
    amount = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min" if left < 7200 else f"{left / 3600:.1f} h"
    speed = f"{rate:.1f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min"
    return f"{done:,} of {total:,} {unit}, {speed}, {amount} left"
