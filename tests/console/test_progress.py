"""A log gets a line now and then, with how far a job is."""

import pytest

from mge.console.progress import show_progress, track_photos


@pytest.fixture(autouse=True)
def _lines_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mge.console.progress.SECONDS_BETWEEN_LINES", 0.0)


def test_each_batch_counts_with_all_its_photos_and_the_time_before_the_first_is_not_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with show_progress("measuring", total=2500) as advance:
        for second, count in ((1000, 16), (1010, 984), (1020, 1000)):
            monkeypatch.setattr("time.monotonic", lambda now=second: float(now))
            advance(count)
    assert capsys.readouterr().err.splitlines() == [
        "measuring: 1,000 of 2,500 photos, 98.4/s, 15 s left",
        "measuring: 2,000 of 2,500 photos, 99.2/s, 5 s left",
    ]


def test_photos_that_are_tracked_come_in_order_and_are_counted_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track_photos(iter("abc"), verb="reading", total=3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" photos")[0] for line in lines] == [f"reading: {number} of 3" for number in (2, 3)]


def test_the_other_processes_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track_photos(iter("abc"), verb="reading", total=3, is_quiet=True)) == ["a", "b", "c"]
    assert not capsys.readouterr().err
