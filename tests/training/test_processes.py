import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photos import write_class_folders

pytestmark = pytest.mark.alone
OPTIONS = [
    "--preset", "scratch", "--schedule", "progressive",
    "--backbone", "test_resnet", "--no-pretrained", "--size", "64", "--experts", "2", "--part-filters", "2",
    "--epochs", "1", "--batch-size", "6", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp",
    "--baseline", "same_view",
]  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_one_mixture_and_count_every_photo_once(tmp_path: Path) -> None:
    photos = write_class_folders(tmp_path / "photos", per_class=9)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "mge", "train", str(photos), "--out", str(tmp_path / "run"), *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["num_photos"] == 6  # 2 of 9 photos of each of 3 classes
    assert "plain_top1" in summary
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3  # a head, and one epoch of each of two stages
    assert "18" in rows[1].split(",")  # photos: 3 full batches of 6, over both processes
    assert done.stdout.count("Next: mge predict") == 1


@pytest.mark.slow
def test_two_processes_learn_as_one_and_survive_signals_kills_and_hangs(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "processes.py"
    command = [sys.executable, str(script), "--signals", "1", "--kills", "1", "--epochs", "3"]
    command += ["--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    equal, stops, hung = figures["equal"], figures["signals"], figures["hung"]
    assert equal["steps"] == 24
    # A kink of ReLU lets a gradient through on one side and not on the other, where its input is 0 but for rounding.
    assert figures["smooth"]["equal"]["largest_difference_of_losses"] <= 1e-5
    assert equal["largest_difference_of_losses"] <= 2e-4
    assert equal["same_figures"]
    assert equal["test_photos_counted"] == 103
    assert (stops["clean"], stops["at_the_step"], stops["same_bits"], stops["same_rows"]) == (1, 1, 1, 1)
    (kill,) = figures["kills"]
    assert sorted(kill["exit_codes"]) == [-9, 75]
    assert kill["largest_difference_of_weights"] <= 1e-4  # it goes on with one process
    assert hung["exit_code"] == 75
    assert "--resume" in hung["said"]
