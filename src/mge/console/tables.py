"""Metrics as tables in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.table import Table
from rich.text import Text

from mge.console.terminal import Terminal
from mge.data.check.broken import Broken
from mge.data.photo import as_text
from mge.storage.run_folder import Run

PICTURE = "what_each_expert_saw.png"
NUM_NAMED = 5  # broken photos listed by name
NOTABLE_WAITING = 10.0  # percent of the training time; below it, faster loading would hardly be noticed
PLAIN_NAMES = {
    "teacher_top1": "teacher (whole mixture)",
    "plain_top1": "plain network (same input)",
    "plain_equal_compute_top1": "plain network (equal compute, larger input)",
}


def say(*tables_or_lines: Table | str) -> None:
    """Print tables and lines to standard output, without markup or emoji in names."""
    console = Terminal(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for each in tables_or_lines:
        console.print(as_text(each) if isinstance(each, str) else each)


def bold(figure: str) -> Text:
    """Return a cell for the most important number."""
    return Text(figure, style="bold")


def print_notes(notes: Sequence[str]) -> None:
    """Print notes about the photos, one line each."""
    say(*(f"Note: {note}" for note in notes))


def print_summary(run: Run) -> None:
    """Print the table of a finished run, and the next command."""
    summary = run.summary()
    say(summary_table(summary))
    if "verdict" in summary:
        say(f"Verdict: {summary['verdict']}.")
    say(*(f"Alarm: {alarm}." for alarm in summary.get("alarms", [])))
    waiting = run.waiting_percent()
    if waiting >= NOTABLE_WAITING:
        say(f"Data loading stalled training for {waiting:.0f} % of the time; --cache yes or more --workers may help.")
    picture = run.report / PICTURE
    if picture.exists():
        say(f"Expert views: {picture}")
    say(f"Next: mge predict {quote(str(run.folder))} photo.jpg")


def print_evaluation(figures: Mapping[str, Any], *, file: Path, model: Path, page: Path | None = None) -> None:
    """Print the result of an evaluation in one sentence, then advice, notes, its table and the next command.

    Args:
        figures: The metrics.
        file: Their JSON file.
        model: The run or model folder.
        page: The report; None if there is none.
    """
    say(*([figures["headline"]] if "headline" in figures else []), *figures.get("advice", []))
    print_notes(figures.get("notes", []))
    say(summary_table(figures))
    broken = [Broken(**photo) for photo in figures.get("broken", [])]
    print_broken(broken, num_photos=figures["num_photos"] + len(broken), file=file)
    if "cascade_curve" in figures:  # it was fitted just now
        say(_describe_choice(figures["cascade"]))
    say(*_describe_trust(figures))
    if page is not None:
        say(f"Report: {page}")
    flag = " --cascade" if "cascade" in figures else ""
    say(f"Results: {file}", f"Next: mge predict {quote(str(model))} photo.jpg{flag}")


def is_mixture(figures: Mapping[str, Any]) -> bool:
    """Return whether there are several experts; a single one is a network, which has no gate, mean or oracle."""
    return len(figures["experts_top1"]) > 1


def what_answers(figures: Mapping[str, Any]) -> str:
    """Return the name of the model for users."""
    return "mixture" if is_mixture(figures) else "network"


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Return the table with one row per network and component, with its accuracy in percent."""
    unread = f"; {summary['num_broken']} unreadable photos skipped" if summary.get("num_broken") else ""
    which = "photos (all splits)" if summary["split"] == "all" else f"photos of the {summary['split']} split"
    table = Table(title=f"Accuracy on {summary['num_photos']} {which}{unread}")
    table.add_column("model")
    table.add_column("top-1 accuracy (%)", justify="right")
    for key, name in PLAIN_NAMES.items():
        if key in summary:
            table.add_row(name, f"{summary[key]:.1f}")
    if "student_top1" in summary:
        table.add_row("student (one forward pass)", bold(f"{summary['student_top1']:.1f}"))
        return table
    fusion = summary.get("fusion", {})
    if "first_expert_top1" in fusion:
        table.add_row("first expert only", f"{fusion['first_expert_top1']:.1f}")
    for number, top1 in enumerate(summary["experts_top1"]):
        heads = f"global head {summary['large_top1'][number]:.1f}, part head {summary['part_top1'][number]:.1f}"
        table.add_row(f"expert {number} ({heads})", f"{top1:.1f}")
    name = what_answers(summary)
    if fusion.get("experts", 0) < fusion.get("trained_experts", 0):
        table.add_row(f"all {fusion['trained_experts']} trained experts", f"{fusion['all_experts_top1']:.1f}")
    table.add_row(name, bold(f"{summary['mixture_top1']:.1f}"))
    if "balanced_top1" in summary:  # older runs do not have it
        table.add_row(f"{name}, balanced accuracy (macro recall)", f"{summary['balanced_top1']:.1f}")
    if "cascade" in summary:
        table.add_row(*_cascade_row(summary["cascade"]))
    if is_mixture(summary):
        table.add_section()
        table.add_row("uniform mean of the experts", f"{summary['mean_top1']:.1f}")
        table.add_row("oracle (best expert per photo)", f"{summary['oracle_top1']:.1f}")
    return table


def print_broken(broken: Sequence[Broken], *, num_photos: int, file: Path) -> None:
    """Print the photos that are left out, a few by name, if there are any.

    Args:
        broken: The photos that cannot be read.
        num_photos: Number of all photos, including these.
        file: File that lists all of them.
    """
    if not broken:
        return
    say(f"Warning: {len(broken)} of {num_photos} photos cannot be read and are skipped:")
    say(*(f"  {photo.path} {photo.reason}" for photo in broken[:NUM_NAMED]))
    rest = f"  and {len(broken) - NUM_NAMED} more; all" if len(broken) > NUM_NAMED else "They"
    say(f"{rest} are listed in {file}; details: mge check DATA")


def _cascade_row(cascade: Mapping[str, Any]) -> tuple[str, str]:
    experts, saved = cascade["mean_experts"], cascade["saved_percent"]
    name = f"early exit ({experts:.2f} experts per photo, {saved:.0f} % of later experts skipped)"
    return name, f"{cascade['top1']:.1f}"


def _describe_choice(cascade: Mapping[str, Any]) -> str:
    """Describe the fitted early exit, and its cross-validated gain or loss."""
    words = ["always" if least < 0.5 else f"{least:.3f}" if least <= 1 else "never" for least in cascade["leads"]]
    text = (
        f"Early-exit thresholds, fitted on {cascade['validation']['num_photos']} validation photos and stored: "
        f"{', '.join(words)} (top-2 margin p1 / (p1 + p2), from 0.5 to 1)."
    )
    if "cross_validated" not in cascade:
        return text
    lost = cascade["cross_validated"]["lost_top1"]
    return f"{text} Cross-validated change in accuracy: {0.0 - lost:+.1f} points."


def _describe_trust(figures: Mapping[str, Any]) -> Iterable[str]:
    """Yield lines about top-5 accuracy, macro-F1, calibration and rejection, if they were measured."""
    if "macro_f1" in figures:
        top5 = f"Top-5 accuracy {figures['mixture_top5']:.1f} %. " if "mixture_top5" in figures else ""
        chance = f"most frequent class {figures['majority_top1']:.1f} %, guessing {figures['chance_top1']:.1f} %"
        yield f"{top5}Macro-F1 {figures['macro_f1']:.1f} %. Chance level: {chance}."
    if "validation" in figures.get("calibration", {}):
        calibration = figures["calibration"]
        yield (
            f"Calibration: ECE {calibration['ece_after']:.1f} % ({calibration['ece_before']:.1f} % before temperature "
            f"scaling, T = {calibration['temperature']:.3f})."
        )
    if "rejection" in figures:
        rejection = figures["rejection"]
        share = rejection["accepted_percent"]
        wrong = rejection["error_percent"]
        error = "" if wrong is None else f", error rate of accepted photos {wrong:.1f} %"
        yield f"Rejection below {100 * rejection['threshold']:.1f} %: coverage {share:.1f} %{error}."
    if "unknown" in figures:
        unknown = figures["unknown"]
        yield f"Out-of-distribution detection on {unknown['num_photos']} other photos: AUROC {unknown['auroc']:.3f}."


def print_bench(figures: Mapping[str, Any]) -> None:
    """Print the cost of a mixture relative to its baseline."""
    title = "{experts} x {backbone}, {size} px, gate {gate}, batch {batch_size}, {precision}".format(**figures)
    relative = f"relative to {figures['experts']} plain backbone{'s' * (figures['experts'] != 1)}"
    table = Table("", relative, "range", "CPU-time ratio", "photos/s", title=title)
    for name in ("inference", "training"):
        row = figures[name]
        spread = f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"
        ratios = f"{row['ratio']:.3f}", spread, f"{row['processor_ratio']:.3f}"
        table.add_row(name, *ratios, f"{row['photos_per_second']:.2f}")
    share = figures["inference"]["attention_boxes_zooms_percent"]
    activations, sizes = figures["training"], figures["sizes"]
    say(
        table,
        f"Attention, boxes and zooms take {share:.1f} % of the forward pass.",
        f"Activation memory of a training step: {activations['activation_bytes'] / 2**20:.0f} MiB, "
        f"{activations['activation_ratio']:.2f} times that of one plain network.",
        f"Parameters: {sizes['parameters'] / 1e6:.1f} M (plain backbones: {sizes['floor_parameters'] / 1e6:.1f} M).",
    )
