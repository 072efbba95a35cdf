"""Progress of long jobs over photos: a bar in a terminal, a line now and then in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from mge.console.pace import describe_seconds
from mge.console.terminal import Terminal

SECONDS_BETWEEN_LINES = 30.0
Item = TypeVar("Item")


class _Rate(ProgressColumn):
    """Photos per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="dim")


class Lines:
    """Progress as occasional lines on standard error.

    Args:
        verb: Description of the work.
        total: Amount of work.
        done: Amount done before.
        unit: Unit of the amount.
        seconds: Minimum time between two lines.
    """

    def __init__(self, verb: str, *, total: int, done: int = 0, unit: str = "photos", seconds: float) -> None:
        self.verb, self.total, self.done, self.unit, self.seconds = verb, total, done, unit, seconds
        self.done_first = -1
        self.started = self.shown = 0.0

    def advance(self, count: int) -> None:
        """Advance by so many. The time before the first call (to compile a graph, say) is left out of the estimate."""
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
    """Show the number of finished photos, their rate, and the remaining time.

    Args:
        verb: Description of the work.
        total: Number of photos.
        is_quiet: Show nothing, for processes other than the first.

    Yields:
        A function to be called with the number of further finished photos.
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
    """Yield the photos, showing the progress; see `show_progress`.

    Args:
        photos: Items that arrive as photos are finished.
        verb: Description of the work.
        total: Number of photos.
        is_quiet: Show nothing.
    """
    with show_progress(verb, total=total, is_quiet=is_quiet) as advance:
        for photo in photos:
            yield photo
            advance(1)


def describe(done: int, *, total: int, rate: float, unit: str) -> str:
    """Describe the progress of a job."""
    speed = f"{rate:.1f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min"
    return f"{done:,} of {total:,} {unit}, {speed}, {describe_seconds((total - done) / rate)} left"
