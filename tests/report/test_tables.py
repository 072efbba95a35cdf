from pathlib import Path

from rich.console import Console

from mge.report.tables import print_evaluation, summary_table

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


CASCADE: dict[str, object] = {
    "top1": 71.875,
    "mean_experts": 1.4375,
    "saved_percent": 56.25,
    "thresholds": [0.9, 2.0],
    "validation": {"num_photos": 8},
    "cross_validated": {"lost_top1": 0.5},
}


def test_the_cascade_has_a_row_with_what_it_saves() -> None:
    text = show({**SUMMARY, "cascade": CASCADE})
    assert "cascade (1.44 experts a photo, saves 56 % of the later ones)" in text
    assert "71.9" in text
    assert "cascade" not in show(SUMMARY)


def test_an_evaluation_says_what_was_chosen_and_what_it_loses_on_other_photos() -> None:
    console = Console(width=120)
    figures = {**SUMMARY, "cascade": CASCADE, "cascade_curve": []}
    with console.capture() as capture:
        print_evaluation(figures, file=Path("figures.json"), model=Path("run"), console=console)
    text = " ".join(capture.get().split())
    assert "chosen on 8 validation photos and stored: an expert is sure enough at 0.900, never." in text
    assert "Cross-validated, it loses 0.5 points." in text
    assert "Next: mge predict run photo.jpg --cascade" in text
