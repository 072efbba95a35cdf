import io
from pathlib import Path

import pytest
from rich.console import Console

from mge.console.display import Display, announce
from mge.data.records import PhotoSet, Record, Split


def line(train: int, val: int = 0, test: int = 0) -> str:
    counts: dict[Split, int] = {"train": train, "val": val, "test": test}
    records = tuple(
        Record(Path(f"{split}{number}.jpg"), "a[b]", split)
        for split, count in counts.items()
        for number in range(count)
    )
    held_out: tuple[Split, ...] = ("val",)
    output = io.StringIO()
    photos = PhotoSet("CUB-200-2011", "text files [of it]", ("a[b]",) * 200, records, held_out=held_out)
    announce(photos, console=Console(file=output, markup=False, highlight=False, soft_wrap=True))
    return output.getvalue()


def test_a_run_says_what_it_reads_in_one_line() -> None:
    assert line(train=1394, val=60, test=5) == (
        "CUB-200-2011, text files [of it]: 1,394 training, 60 validation (held out), 5 test photos of 200 classes\n"
    )
    assert line(train=3) == "CUB-200-2011, text files [of it]: 3 training, 0 validation, 0 test photos of 200 classes\n"


def test_a_log_says_in_a_long_epoch_how_far_training_is_and_not_what_was_done_before_it_went_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Console(file=io.StringIO())
    display, others = Display("a run", console=log), Display("a run", is_quiet=True)
    for each in (display, others):
        each.start(done=1000, total=4000)
    for second in range(0, 1000, 100):
        monkeypatch.setattr("time.monotonic", lambda now=second: float(now))
        display.step()
        others.step()
    assert capsys.readouterr().err.splitlines() == [
        "training: 1,004 of 4,000 batches, 0.6/min, 83.2 h left",
        "training: 1,007 of 4,000 batches, 0.6/min, 83.1 h left",
        "training: 1,010 of 4,000 batches, 0.6/min, 83.1 h left",
    ]
