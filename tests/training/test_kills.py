"""Runs that are killed with SIGKILL end in the bits of those that nobody stopped: a short form of the benchmark."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits_with_no_gap_and_no_double_row(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", "4", "--ways", "1", "--json", str(tmp_path / "kills.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "kills.json").read_text())["rows"]
    assert row["kills"] >= 1  # a run that is done before its turn comes is not killed
    assert row["same_weights"]
    assert row["same_metrics"]
    assert row["same_summary"]
    assert row["epochs"] == 3
