"""Progress display of a training."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from mge.console.pace import Pace, describe_seconds
from mge.console.terminal import Terminal, is_live
from mge.data.records import PhotoSet, Split

SECONDS_BETWEEN_LINES = 60.0  # in a log, at most
LONGEST_NAME = 31  # letters of the network's name: with them the display fits 80 columns
SPLIT_NAMES: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}


class EpochPlace(NamedTuple):
    """Position of a training, counted from 0."""

    stage: int
    num_stages: int  # 1 for all schedules but the progressive one
    epoch: int
    num_epochs: int
    batch: int
    num_batches: int


class _TwoLines(Progress):
    """A bar, and a line of figures below it."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.figures, style="dim", no_wrap=True, overflow="ellipsis")


class Display:
    """Network, epoch, training figures, validation accuracy and time left: two lines in a terminal or a notebook.

    If the output is neither (a log file), the same facts are written as a line at least every minute. In both cases
    there is one line per finished epoch.

    Args:
        network: Name of the network for users.
        console: Console to write to.
        is_quiet: Write nothing, for processes other than the first.
    """

    def __init__(self, network: str, *, console: Console | None = None, is_quiet: bool = False) -> None:
        self.network = network
        self.console = console or Terminal(quiet=is_quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self.is_live = is_live(self.console) and not self.console.quiet
        self._progress = _TwoLines(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=10),
            TextColumn("{task.percentage:.0f} %"), TextColumn("{task.fields[left]}"),
            console=self.console, disable=not self.is_live, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None, left="")
        self._pace = Pace(total=0.0)
        self._place = EpochPlace(0, 1, 0, 1, 0, 1)
        self._accuracies: list[float] = []  # on validation photos, in the epochs of this stage
        self._shown = self._stepped = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()

    @property
    def validation_verb(self) -> str:
        """Name of the validation for its own progress; empty where the two lines are visible."""
        return "" if self.is_live or self.console.quiet else f"{self._name()}, validation"

    def start(self, *, done: float, total: float, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Set the amounts of finished work and of all work, and the rows of the epochs before."""
        self._pace = Pace(total=total, done=done)
        for row in rows:
            self._remember(row)

    def enter(self, place: EpochPlace) -> None:
        """Enter a stage or an epoch."""
        if place.stage != self._place.stage:
            self._accuracies = []
        self._place = place
        self._refresh("")

    def step(self, figures: Mapping[str, Any], *, work: float) -> None:
        """Advance by one batch.

        Args:
            figures: Metrics of the epoch so far.
            work: Amount of work of the batch.
        """
        now = time.monotonic()
        self._pace.advance(work)
        self._place = self._place._replace(batch=self._place.batch + 1)
        trained = _trained(figures)
        self._refresh(trained)
        # A line comes before the minute is over, if the next batch would end after it.
        is_due = now - self._shown + (now - self._stepped) >= SECONDS_BETWEEN_LINES
        self._stepped = now
        if is_due and not self.is_live:
            self._line(f"{self._name()}, batch {self._place.batch} of {self._place.num_batches}", trained)

    def fit(self, num_epochs: int, num_batches: int, *, seconds: float) -> None:
        """Say how many epochs of how many batches fit into the seconds that a stage has left."""
        self._place = self._place._replace(num_epochs=num_epochs, num_batches=num_batches)
        name, _, _ = self._name().rpartition(", ")
        epochs = f"{num_epochs} epoch{'s' * (num_epochs != 1)} of {num_batches} batch{'es' * (num_batches != 1)}"
        self.note(f"{name}: {epochs} fit into {describe_seconds(seconds)}")

    def leave(self, seconds: float) -> None:
        """Set the time that is left, where it is known better than from the work."""
        if self._pace.rate is not None:
            self._pace.total = self._pace.done + seconds * self._pace.rate

    def note(self, text: str) -> None:
        """Print one line about the whole training."""
        self.console.print(text)

    def epoch(self, row: Mapping[str, Any], *, work: float) -> None:
        """Print one line about a finished epoch.

        Args:
            row: Its metrics.
            work: Amount of work of the validation.
        """
        self._remember(row)
        self._pace.advance(work)
        trained = _trained(row)
        self._refresh(trained)
        seconds = f"{row['seconds']:.0f} s ({row['data_wait_percent']:.0f} % data loading)"
        self._line(self._name(), f"{trained}; {seconds}")

    def _remember(self, row: Mapping[str, Any]) -> None:
        if row["stage"] != self._place.stage:
            self._accuracies, self._place = [], self._place._replace(stage=row["stage"])
        if "val_top1_mixture" in row:
            self._accuracies.append(row["val_top1_mixture"])

    def _name(self) -> str:
        """Return the network, its stage and the epoch."""
        place = self._place
        stage = f", expert stage {place.stage + 1} of {place.num_stages}" if place.num_stages > 1 else ""
        return f"{self.network}{stage}, epoch {place.epoch + 1} of {place.num_epochs}"

    def _line(self, name: str, trained: str) -> None:
        """Print a line of the log."""
        self._shown = time.monotonic()
        self.console.print("; ".join(part for part in (f"{name}: {trained}", self._validated(), self._left()) if part))

    def _refresh(self, trained: str) -> None:
        """Show the two lines."""
        name, _, epoch = self._name().rpartition(", ")
        name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        self._progress.figures = " · ".join(part for part in (trained, self._validated()) if part)
        self._progress.update(
            self._task, description=f"{name}, {epoch}", completed=self._pace.done, total=self._pace.total or None,
            left=self._left(),
        )  # fmt: skip

    def _validated(self) -> str:
        if not self._accuracies:
            return ""
        last, best = self._accuracies[-1], max(self._accuracies)
        return f"validation accuracy {last:.1f} % ({'best so far' if last == best else f'best {best:.1f} %'})"

    def _left(self) -> str:
        left = self._pace.seconds_left
        return "" if left is None else f"{describe_seconds(left)} left"


def announce(photos: PhotoSet, *, console: Console | None = None) -> None:
    """Print the layout of the photos and their numbers per split."""
    console = console or Terminal(highlight=False, markup=False, soft_wrap=True)
    parts = []
    for split, name in SPLIT_NAMES.items():
        count = len(photos.split(split))
        parts.append(f"{count:,} {name}" + (" (held out)" if count and split in photos.held_out else ""))
    console.print(f"{photos.name}, {photos.source}: {', '.join(parts)} photos of {len(photos.class_names):,} classes")


def _trained(row: Mapping[str, Any]) -> str:
    """Format loss and accuracy on the training photos."""
    return f"train loss {row['train_loss_mixture']:.2f}, accuracy {row['train_top1_mixture']:.1f} %"
