import contextlib
import io
from pathlib import Path
from shlex import quote

import pytest

from mge.console.tables import NUM_NAMED, print_broken, print_evaluation, print_notes, print_summary, say, summary_table
from mge.data.check.broken import Broken
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


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def show(summary: dict[str, object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as written:
        say(summary_table(summary))
    return written.getvalue()


def test_every_network_has_its_row() -> None:
    text = show(SUMMARY)
    for figure in ("40.0", "61.5", "30.0", "50.0", "72.2", "70.0", "80.0", "test split"):
        assert figure in text


def test_a_network_by_itself_is_not_compared_with_others() -> None:
    alone = {key: value[:1] if isinstance(value, list) else value for key, value in SUMMARY.items()}
    text = show(alone)
    assert "network" in text
    assert "72.2" in text
    assert "oracle" not in text
    assert "mean" not in text


def test_baselines_that_were_not_trained_have_none() -> None:
    assert "plain network" not in show({key: value for key, value in SUMMARY.items() if not key.startswith("plain")})


@pytest.mark.parametrize(("percents", "line"), [
    ((10.0, 2.0), ""),
    ((40.0, 0.0), "Data loading stalled training for 30 % of the time; --cache yes or more --workers may help."),
])  # fmt: skip
def test_the_end_of_a_run_says_how_long_training_waited_for_photos_if_that_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], percents: tuple[float, float], line: str
) -> None:
    run = Run(tmp_path)
    for epoch, (seconds, percent) in enumerate(zip((30.0, 10.0), percents, strict=True)):
        run.append_metrics({"stage": 0, "epoch": epoch, "seconds": seconds, "data_wait_percent": percent})
    run.write_summary(SUMMARY)
    print_summary(run)
    text = capsys.readouterr().out
    assert line in text
    assert ("stalled" in text) == bool(line)
    assert Run(tmp_path / "other").waiting_percent() == 0


def test_each_note_is_a_line_and_none_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_notes(["two [groups] are cut by the splits", "a split is left out"])
    print_notes([])
    assert capsys.readouterr().out == "Note: two [groups] are cut by the splits\nNote: a split is left out\n"


def test_balanced_accuracy_stands_beside_accuracy_where_it_was_measured() -> None:
    lines = show({**SUMMARY, "balanced_top1": 66.6}).splitlines()
    (number,) = (number for number, line in enumerate(lines) if "72.2" in line)
    assert "balanced" in lines[number + 1]
    assert "66.6" in lines[number + 1]
    assert "balanced" not in show(SUMMARY)


def test_photos_that_cannot_be_read_are_counted_beside_the_others() -> None:
    text = " ".join(show({**SUMMARY, "num_broken": 3}).split())
    assert "on 10 photos of the test split; 3 unreadable photos skipped" in text
    assert "unreadable" not in show({**SUMMARY, "num_broken": 0})


def test_a_few_broken_photos_are_named_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    broken = [Broken(f"[bold]/{number}.jpg", "a", "train", "cannot be read: cut off") for number in range(9)]
    print_broken(broken, num_photos=50, file=Path("run/skipped.json"))
    print_broken([], num_photos=50, file=Path("run/skipped.json"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Warning: 9 of 50 photos cannot be read and are skipped:"
    assert lines[1] == "  [bold]/0.jpg cannot be read: cut off"
    assert len(lines) == 2 + NUM_NAMED
    assert lines[-1].startswith(f"  and {9 - NUM_NAMED} more; all are listed in run/skipped.json; details: mge check")


def test_a_broken_photo_whose_name_is_no_text_is_named_with_marks(capsys: pytest.CaptureFixture[str]) -> None:
    broken = [Broken("cr\udce8me.jpg", "a", "train", "is not a photo")]
    print_broken(broken, num_photos=50, file=Path("run/skipped.json"))
    assert "  cr\ufffdme.jpg is not a photo\n" in capsys.readouterr().out


def test_an_evaluation_names_its_broken_photos(capsys: pytest.CaptureFixture[str]) -> None:
    photo = {"path": "x/cut.jpg", "label": "a", "split": "test", "reason": "cannot be read: cut off"}
    figures = {**SUMMARY, "num_broken": 1, "broken": [photo]}
    print_evaluation(figures, file=Path("figures.json"), model=Path("run"))
    text = capsys.readouterr().out
    assert "1 of 11 photos cannot be read" in text
    assert "x/cut.jpg cannot be read: cut off" in text


CASCADE: dict[str, object] = {
    "top1": 71.875,
    "mean_experts": 1.4375,
    "saved_percent": 56.25,
    "leads": [0.9, 2.0],
    "validation": {"num_photos": 8},
}


def test_the_cascade_has_a_row_with_what_it_saves() -> None:
    text = show({**SUMMARY, "cascade": CASCADE})
    assert "early exit (1.44 experts per photo, 56 % of later experts skipped)" in text
    assert "71.9" in text
    assert "early exit" not in show(SUMMARY)


@pytest.mark.parametrize(("lost", "text"), [(0.5, "-0.5 points."), (-0.4, "+0.4 points."), (None, None)])
def test_an_evaluation_says_what_was_chosen_and_what_it_loses_on_other_photos(
    lost: float | None, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {} if lost is None else {"cross_validated": {"lost_top1": lost}}
    figures = {**SUMMARY, "cascade": {**CASCADE, **measured}, "cascade_curve": []}
    print_evaluation(figures, file=Path("figures.json"), model=Path("run"))
    written = " ".join(capsys.readouterr().out.split())
    assert "fitted on 8 validation photos and stored: 0.900, never (top-2 margin" in written
    assert f"Cross-validated change in accuracy: {text}" in written if text else "Cross-validated" not in written
    assert "Next: mge predict run photo.jpg --cascade" in written


def test_a_student_stands_beside_its_teacher_and_has_no_mixture() -> None:
    text = show({**SUMMARY, "student_top1": 65.5, "teacher_top1": 71.5})
    for figure in ("40.0", "65.5", "71.5"):
        assert figure in text
    assert "oracle" not in text


def test_names_are_written_as_they_are_and_not_as_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path / "[red] :apple:")
    run.folder.mkdir()
    run.write_summary({**SUMMARY, "split": "[bold]"})
    print_summary(run)
    print_evaluation(SUMMARY, file=run.folder / "figures.json", model=run.folder)
    text = capsys.readouterr().out
    assert "photos of the [bold] split" in text
    assert text.count(f"Next: mge predict {quote(str(run.folder))} photo.jpg\n") == 2
    assert f"Results: {run.folder}/figures.json\n" in text
