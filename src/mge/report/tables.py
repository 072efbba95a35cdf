"""Figures as tables that a person reads in a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mge.storage.run_folder import Run

PICTURE = "what_each_expert_saw.png"
PLAIN_NAMES = {
    "teacher_top1": "teacher, the whole mixture",
    "plain_top1": "plain network, same view",
    "plain_equal_compute_top1": "plain network, equal compute (larger view)",
}


def print_summary(run: Run, *, console: Console | None = None) -> None:
    """Writes the table of a finished run, and what to do next."""
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(summary_table(run.summary()))
    picture = run.report / PICTURE
    if picture.exists():
        console.print(f"What each expert saw: {picture}")
    console.print(f"Next: mge predict {run.folder} photo.jpg")


def print_evaluation(figures: Mapping[str, Any], *, file: Path, model: Path, console: Console | None = None) -> None:
    """Writes the table of an evaluation, and what to do next."""
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(summary_table(figures))
    console.print(f"Figures: {file}\nNext: mge predict {model} photo.jpg")


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A row for each network and part, with its accuracy in percent."""
    table = Table(title=f"Accuracy on {summary['num_photos']} photos of the {summary['split']} split")
    table.add_column("what answers")
    table.add_column("top-1 %", justify="right")
    for key, name in PLAIN_NAMES.items():
        if key in summary:
            table.add_row(name, f"{summary[key]:.1f}")
    if "student_top1" in summary:
        table.add_row("student, one forward", f"[bold]{summary['student_top1']:.1f}[/bold]")
        return table
    for number, top1 in enumerate(summary["experts_top1"]):
        heads = f"large {summary['large_top1'][number]:.1f}, part {summary['part_top1'][number]:.1f}"
        table.add_row(f"expert {number} ({heads})", f"{top1:.1f}")
    table.add_row("mixture", f"[bold]{summary['mixture_top1']:.1f}[/bold]", end_section=True)
    table.add_row("plain mean of the experts", f"{summary['mean_top1']:.1f}")
    table.add_row("oracle that picks the right expert", f"{summary['oracle_top1']:.1f}")
    return table


def print_bench(figures: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Writes what a mixture costs beside its floor."""
    console = console or Console(highlight=False, soft_wrap=True)
    title = "{experts} x {backbone}, {size} px, gate {gate}, batch {batch_size}, {precision}".format(**figures)
    table = Table("", "mixture / floor", "lowest to highest", "photos a second", title=title)
    for name in ("inference", "training"):
        row = figures[name]
        spread = f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
        table.add_row(name, f"{row['ratio']:.3f}", spread, f"{row['photos_per_second']:.2f}")
    console.print(table)
    share = figures["inference"]["attention_boxes_zooms_percent"]
    activations, sizes = figures["training"], figures["sizes"]
    console.print(f"Attention, boxes and zooms take {share:.1f} % of a forward.")
    console.print(
        f"Activations of a training step: {activations['activation_bytes'] / 2**20:.0f} MiB, "
        f"{activations['activation_ratio']:.2f} times those of one plain network."
    )
    console.print(f"Parameters: {sizes['parameters'] / 1e6:.1f} M, floor {sizes['floor_parameters'] / 1e6:.1f} M.")
