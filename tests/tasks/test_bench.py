import json
from pathlib import Path

import pytest
import torch
from torch import nn

import mge
from mge.training.timing import waiting_bytes


def test_bench_measures_both_sides_of_the_same_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    figures = mge.bench(
        backbone="test_resnet", size=64, num_classes=5, batch_size=2, rounds=1, gate="own", out=out
    )  # fmt: skip
    assert json.loads(out.read_text()) == figures
    for name in ("inference", "training"):
        row = figures[name]
        assert row["ratio"] == pytest.approx(row["mixture_seconds"] / row["floor_seconds"], rel=0.01)
        assert 0.1 < row["processor_ratio"] / row["ratio"] < 10
        assert row["photos_per_second"] == pytest.approx(2 / row["mixture_seconds"], rel=0.01)
    # Of the forward that was timed: with one round, the experts' seconds of a round before would be none.
    assert 0 < figures["inference"]["attention_boxes_zooms_percent"] < 90
    # Four backbones on both sides; the mixture has part filters and joint heads as well.
    assert 1 < figures["sizes"]["parameters"] / figures["sizes"]["floor_parameters"] < 1.3
    # One expert's activations at a time, beside those of one plain network.
    assert 0.9 < figures["training"]["activation_ratio"] < 1.3
    assert "plain backbones" in capsys.readouterr().out


def test_waiting_bytes_are_those_that_a_backward_needs() -> None:
    wide = nn.Linear(100, 1000)
    inputs = torch.randn(10, 100)
    with waiting_bytes() as waiting:
        out = wide(inputs).sigmoid()
        # Inputs for the weight's gradient, and the sigmoid's output for its own; the weight itself does not count.
        assert waiting.now == 4 * (10 * 100 + 10 * 1000)
        out.sum().backward()
        del out
    assert waiting.now == 0
    assert waiting.peak == 4 * (10 * 100 + 10 * 1000)


def test_what_is_freed_before_the_next_comes_does_not_add_up() -> None:
    layer = nn.Linear(50, 50)
    inputs = torch.randn(20, 50)
    with waiting_bytes() as one_by_one:
        for _ in range(3):
            layer(inputs).sigmoid().sum().backward()
    with waiting_bytes() as together:
        sum(layer(inputs).sigmoid().sum() for _ in range(3)).backward()
    assert together.peak == 4 * (50 * 20 * 3 + 50 * 20)  # three outputs, and the inputs once
    assert one_by_one.peak == 4 * (50 * 20 + 50 * 20)
