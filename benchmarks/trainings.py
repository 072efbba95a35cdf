"""Trainings that a benchmark needs: each is done once, and goes on where it stopped."""

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mge
from mge.storage.run_folder import Run

RUNS = Path(__file__).parent.parent / "runs" / "benchmarks"
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def train_once(name: str, data: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a run, which is trained, gone on with, or only read.

    Args:
        name: Of its folder in runs/benchmarks.
        data: What `mge train` is given.
        options: Its options.
    """
    return _once(RUNS / name, lambda folder: mge.train(data, out=folder, **options))


def distill_once(name: str, teacher: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a student, which is trained, gone on with, or only read.

    Args:
        name: Of its folder in runs/benchmarks.
        teacher: Folder of the run that teaches it.
        options: Those of `mge distill`.
    """
    return _once(RUNS / name, lambda folder: mge.distill(teacher, out=folder, **options))


def _once(folder: Path, begin: Callable[[Path], Run]) -> dict[str, Any]:
    if Run(folder).summary():
        return Run(folder).summary()
    run = mge.train(resume=folder) if folder.exists() else begin(folder)
    return run.summary()


def runs_given() -> list[Path]:
    """The run folders on the command line; without any those of benchmarks/demo.py, of all its seeds."""
    runs = [Path(given) for given in sys.argv[1:]] or sorted(RUNS.glob("demo-seed*"))
    if not runs:
        sys.exit(f"no finished run in {RUNS}: run benchmarks/demo.py first, or give run folders")
    return runs


def spread(values: Iterable[float]) -> str:
    """Mean and sample standard deviation, as a table shows them."""
    numbers = list(values)
    if len(numbers) == 1:
        return f"{numbers[0]:.1f}"
    return f"{statistics.mean(numbers):.1f} ± {statistics.stdev(numbers):.1f}"


def write_table(name: str, rows: list[list[str]]) -> None:
    """Write a table between the markers of its name, in the page of the docs that has them; the first row is the head.

    Args:
        name: Of the markers: `<!-- name -->` and `<!-- end of name -->`.
        rows: The cells.
    """
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| --- " + "| ---: " * (len(rows[0]) - 1) + "|")
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pages = [DOCS / "results.md", *sorted((DOCS / "lab-notes").glob("*.md"))]
    page = next(page for page in pages if start in page.read_text(encoding="utf-8"))
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    page.write_text("\n".join([before + start, *lines, end + after]), encoding="utf-8")


def draw_panels(file: Path, names: Iterable[str], draw: Callable[[Axes, str], None], *, xlabel: str) -> None:
    """Draw a panel of test accuracy for each set, and write the picture."""
    sets = list(names)
    figure = Figure(figsize=(4.5 * max(1, len(sets)), 3.6), layout="constrained")
    for panel, name in zip(figure.subplots(1, max(1, len(sets)), squeeze=False)[0], sets, strict=False):
        draw(panel, name)
        panel.set(title=name, xlabel=xlabel, ylabel="test accuracy (%)")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(file, dpi=110)
