"""Progress display of a training."""

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mge.console.progress import Lines
from mge.console.terminal import Terminal
from mge.data.records import PhotoSet, Split

SECONDS_BETWEEN_LINES = 300.0  # in a log, where an epoch takes longer
SPLIT_NAMES: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}


class Display:
    """A progress bar with each expert's loss and accuracy, and one line per finished epoch.

    If the output is no terminal (a log file), only the lines are written, and the progress within long epochs.

    Args:
        title: Description of the training.
        console: Console to write to.
        is_quiet: Write nothing, for processes other than the first.
    """

    def __init__(self, title: str, *, console: Console | None = None, is_quiet: bool = False) -> None:
        self.console = console or Terminal(quiet=is_quiet, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[figures]}", style="dim"),
            console=self.console, disable=is_quiet or not self.console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task(title, total=None, figures="")
        self._lines: Lines | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()

    @property
    def wants_figures(self) -> bool:
        """True if the bar is visible, so that metrics are worth copying from the device."""
        return not self._progress.disable

    def start(self, *, done: int, total: int) -> None:
        """Set the number of finished steps and of all steps."""
        self._progress.update(self._task, completed=done, total=total)
        if self._lines is None and not self.console.quiet and not self.console.is_terminal:
            self._lines = Lines("training", total=total, done=done, unit="batches", seconds=SECONDS_BETWEEN_LINES)

    def step(self, figures: Mapping[str, Any] | None = None) -> None:
        """Advance by one step; `figures` (of a tally), if given, are shown beside the bar."""
        self._progress.update(self._task, advance=1)
        if self._lines is not None:
            self._lines.advance(1)
        if figures is not None:
            self._progress.update(self._task, figures=_loss_and_accuracy(figures))

    def note(self, text: str) -> None:
        """Print one line about the whole training."""
        self.console.print(text)

    def epoch(self, row: Mapping[str, Any], *, num_epochs: int, num_stages: int) -> None:
        """Print one line about an epoch."""
        stage = f"stage {row['stage'] + 1}/{num_stages}  " if num_stages > 1 else ""
        line = (
            f"{stage}epoch {row['epoch'] + 1:>{len(str(num_epochs))}}/{num_epochs}  train loss/acc: "
            f"{_loss_and_accuracy(row)}"
        )
        if "val_top1_mixture" in row:
            line += f"  · val acc {row['val_top1_mixture']:.1f} %"
        self.console.print(f"{line}  · {row['seconds']:.0f} s ({row['data_wait_percent']:.0f} % data loading)")


def announce(photos: PhotoSet, *, console: Console | None = None) -> None:
    """Print the layout of the photos and their numbers per split."""
    console = console or Terminal(highlight=False, markup=False, soft_wrap=True)
    parts = []
    for split, name in SPLIT_NAMES.items():
        count = len(photos.split(split))
        parts.append(f"{count:,} {name}" + (" (held out)" if count and split in photos.held_out else ""))
    console.print(f"{photos.name}, {photos.source}: {', '.join(parts)} photos of {len(photos.class_names):,} classes")


def _loss_and_accuracy(row: Mapping[str, Any]) -> str:
    """Format training loss and accuracy of each expert and of the mixture."""
    names = [name.removeprefix("train_loss_") for name in row if name.startswith("train_loss_")]
    return "  ".join(
        f"{'mix' if name == 'mixture' else name.replace('expert', 'E')} "
        f"{row[f'train_loss_{name}']:.2f}/{row[f'train_top1_{name}']:.0f} %"
        for name in names
    )
