import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mge.console.display import Display, EpochPlace, announce
from mge.console.terminal import is_live
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


def row(stage: int, epoch: int, accuracy: float) -> dict[str, Any]:
    return {
        "stage": stage, "epoch": epoch, "train_loss_expert0": 2.5, "train_loss_mixture": 1.2345,
        "train_top1_mixture": 45.62, "val_top1_mixture": accuracy, "seconds": 12.3, "data_wait_percent": 3.2,
    }  # fmt: skip


TRAINED = {"train_loss_mixture": 1.2345, "train_top1_mixture": 45.62}


def test_a_log_says_at_least_every_minute_which_network_is_trained_and_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    log, silent = Console(file=io.StringIO(), width=400), Console(file=io.StringIO(), quiet=True)
    display, others = Display("mixture", console=log), Display("mixture", console=silent)
    for each in (display, others):
        each.start(done=1000, total=4000, rows=[row(0, 0, 80.0), row(1, 0, 50.1), row(1, 1, 48.0)])
        each.enter(EpochPlace(stage=1, num_stages=3, epoch=2, num_epochs=10, batch=4, num_batches=20))
    for _ in range(16):
        now += 25
        for each in (display, others):
            each.step(TRAINED, work=10)
    assert isinstance(log.file, io.StringIO)
    assert isinstance(silent.file, io.StringIO)
    lines = log.file.getvalue().splitlines()
    assert lines[0] == (
        "mixture, expert stage 2 of 3, epoch 3 of 10, batch 6 of 20: train loss 1.23, accuracy 45.6 %; validation "
        "accuracy 48.0 % (best 50.1 %); 2.1 h left"
    )
    assert len(lines) == 8  # of 16 batches of 25 s each: two fit into a minute, a third would end after it
    assert silent.file.getvalue() == ""


def test_a_finished_epoch_names_its_network_and_marks_the_best_validation_accuracy() -> None:
    log = Console(file=io.StringIO(), width=400)
    display = Display("plain network", console=log)
    for epoch, accuracy in enumerate([40.0, 52.31, 51.0]):
        display.enter(EpochPlace(0, 1, epoch, 3, 0, 20))
        display.epoch(row(0, epoch, accuracy), work=5)
    assert isinstance(log.file, io.StringIO)
    assert [
        line.split("; 12 s (3 % data loading); ")[1].partition(";")[0] for line in log.file.getvalue().splitlines()
    ] == [
        "validation accuracy 40.0 % (best so far)",
        "validation accuracy 52.3 % (best so far)",
        "validation accuracy 51.0 % (best 52.3 %)",
    ]
    assert log.file.getvalue().startswith("plain network, epoch 1 of 3: train loss 1.23, accuracy 45.6 %; 12 s")


@pytest.mark.parametrize(
    ("network", "num_stages"),
    [("mixture", 64), ("plain network of equal compute", 1), ("student of " + 9 * "long ", 1)],
)
def test_a_terminal_of_80_columns_shows_two_whole_lines(
    monkeypatch: pytest.MonkeyPatch, network: str, num_stages: int
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen = Console(file=io.StringIO(), width=80, force_terminal=True)
    with Display(network, console=screen) as display:
        display.start(done=0, total=1e6, rows=[row(num_stages - 1, 0, 100.0), row(num_stages - 1, 98, 99.5)])
        display.enter(EpochPlace(num_stages - 1, num_stages, 99, 100, 0, 20))
        for _ in range(2):
            now += 10
            display.step({"train_loss_mixture": 45.678, "train_top1_mixture": 100.0}, work=100)
    shot = Console(file=io.StringIO(), width=80)
    shot.print(*display._progress.get_renderables())
    assert isinstance(shot.file, io.StringIO)
    lines = [line.rstrip() for line in shot.file.getvalue().splitlines()]
    assert len(lines) == 2
    shown = network if len(network) < 40 else "student of long long long long…"
    stage = ", expert stage 64 of 64" if num_stages > 1 else ""
    assert lines[0].startswith(f"{shown}{stage}, epoch 100 of 100 ")
    assert lines[0].endswith("0 % 27.8 h left")
    assert lines[1] == "train loss 45.68, accuracy 100.0 % · validation accuracy 99.5 % (best 100.0 %)"
    assert max(map(len, lines)) <= 80


def test_a_notebook_shows_the_bar_where_it_can_be_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    for is_there in (None, "spec"):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=is_there: found)
        assert is_live(notebook) is (is_there is not None)
