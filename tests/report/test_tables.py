from pathlib import Path

from rich.console import Console

from mge.report.tables import print_notes, print_summary, summary_table
from mge.storage.run_folder import Run

SUMMARY: dict[str, object] = {
    "split": "test",
    "num_photos": 10,
    "plain_top1": 40.0,
    "plain_equal_compute_top1": 61.5,
    "experts_top1": [30.0, 50.0],
    "large_top1": [29.0, 49.0],
    "part_top1": [28.0, 48.0],
    "mixture_top1": 72.25,
    "mean_top1": 70.0,
    "oracle_top1": 80.0,
}


def show(summary: dict[str, object]) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary_table(summary))
    return capture.get()


def test_every_network_has_its_row() -> None:
    text = show(SUMMARY)
    for figure in ("40.0", "61.5", "30.0", "50.0", "72.2", "70.0", "80.0", "test split"):
        assert figure in text


def test_baselines_that_were_not_trained_have_none() -> None:
    assert "plain network" not in show({key: value for key, value in SUMMARY.items() if not key.startswith("plain")})


def test_the_end_of_a_run_says_how_long_training_waited_for_photos(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append_metrics({"stage": 0, "epoch": 0, "seconds": 30.0, "data_wait_percent": 10.0})
    run.append_metrics({"stage": 0, "epoch": 1, "seconds": 10.0, "data_wait_percent": 2.0})
    run.write_summary(SUMMARY)
    console = Console(width=100)
    with console.capture() as capture:
        print_summary(run, console=console)
    assert "Training waited for photos 8.0 % of its time." in capture.get()
    assert Run(tmp_path / "other").waiting_percent() == 0


def test_each_note_is_a_line_and_none_is_none() -> None:
    console = Console(width=20, soft_wrap=True, markup=False)
    with console.capture() as capture:
        print_notes(["two [groups] are cut by the splits", "a split is left out"], console=console)
        print_notes([], console=console)
    assert capture.get() == "Note: two [groups] are cut by the splits\nNote: a split is left out\n"
