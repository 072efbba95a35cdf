from rich.console import Console

from mge.report.tables import summary_table

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


def test_a_student_stands_beside_its_teacher_and_has_no_mixture() -> None:
    text = show({**SUMMARY, "student_top1": 65.5, "teacher_top1": 71.5})
    for figure in ("40.0", "65.5", "71.5"):
        assert figure in text
    assert "oracle" not in text
