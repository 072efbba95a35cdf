"""How far a long job over photos is: a bar where a person watches, a line now and then where it is a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0
Item = TypeVar("Item")


class _Rate(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} a second", style="dim")


def track_photos(photos: Iterable[Item], *, verb: str, total: int, is_quiet: bool = False) -> Iterator[Item]:
    """Gives the photos on, and shows how many are done, how many a second, and the time left.

    Args:
        photos: What comes when a photo is done.
        verb: What is done with them.
        total: How many will come.
        is_quiet: Show nothing: processes other than the first.
    """
    console = Console(stderr=True)
    if is_quiet:
        yield from photos
        return
    if not console.is_terminal:
        yield from _write_lines(photos, verb=verb, total=total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
               TextColumn("left"))  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(photos, description=verb, total=total)


def _write_lines(photos: Iterable[Item], *, verb: str, total: int) -> Iterator[Item]:
    started = shown = time.monotonic()
    for done, photo in enumerate(photos, start=1):
        yield photo
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES:
            sys.stderr.write(f"{verb}: {describe(done, total=total, seconds=now - started)}\n")
            shown = now


def describe(done: int, *, total: int, seconds: float) -> str:
    """How far a job is, in words."""
    rate = done / max(seconds, 1e-9)
    left = (total - done) / rate
    amount = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min" if left < 7200 else f"{left / 3600:.1f} h"
    return f"{done:,} of {total:,} photos, {rate:.1f} a second, {amount} left"
