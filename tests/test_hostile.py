"""Hostile input is read as what it is or refused in one line: no traceback, no hang, not a gigabyte, no code run."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mge.cli import main
from tests import hostile
from tests.hostile_outputs import CONTAINERS, OUTPUTS
from tests.hostile_races import LETTERS, RACES

CASES = {**hostile.CASES, **CONTAINERS, **OUTPUTS, **RACES, **LETTERS}
SECONDS, BYTES = 30, 2**30  # what a case may take; most take less than a second and 100 MB
CODES = (0, 2, 71, 74)  # 71: too little memory; 74: no place to write to


def serve(folder: Path) -> Iterator[dict[str, Any]]:
    """Meets each case in a process of its own: a copy of this one, which has imported everything."""
    for number, (name, make) in enumerate(CASES.items()):
        home = folder / str(number)
        home.mkdir()
        arguments = make(home)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(meet(home, arguments))
        status = os.waitpid(child, 0)[1]
        yield {
            "name": name,
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - began,
            "bytes": int((home / "bytes").read_text()) if (home / "bytes").exists() else 0,
            "said": (home / "stderr").read_text(errors="replace"),
        }


def meet(home: Path, arguments: list[str]) -> int:
    """Runs a command line with its output in files, and notes how much memory it took at the most."""
    signal.alarm(SECONDS)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    for number, name in ((1, "stdout"), (2, "stderr")):  # a case may have made links of these names
        os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT), number)
    if (home / "encoding").exists():
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(encoding=(home / "encoding").read_text(), errors="strict")
    code = 1
    try:
        code = main(arguments)
    except BaseException:  # noqa: BLE001  (whatever it is, it is what the test is about)
        sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    (home / "bytes").write_text(str(peak() - before))
    return code


def peak() -> int:
    """The most bytes that were resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each case, in processes beside this one: their memory and their signals are their own."""
    folder = tmp_path_factory.mktemp("hostile")
    command = [sys.executable, "-W", "ignore", "-m", "tests.test_hostile", str(folder)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_hostile_input_is_met_with_an_answer_or_one_line(name: str, outcomes: dict[str, dict[str, Any]]) -> None:
    met = outcomes[name]
    errors = [line for line in met["said"].splitlines() if line.startswith("mge: error: ")]
    assert "Traceback" not in met["said"], met["said"][-2000:]
    assert met["code"] in CODES, met
    assert len(errors) == (1 if met["code"] else 0), met["said"]
    assert met["seconds"] < SECONDS
    assert met["bytes"] < BYTES
    assert not Path("/tmp/hacked").exists()


@pytest.mark.slow
def test_each_was_met(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes.keys() == CASES.keys()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 220


if __name__ == "__main__":
    import torch

    import mge.inference.classifier
    import mge.training.run  # noqa: F401

    torch.set_num_threads(1)
    for row in serve(Path(sys.argv[1])):
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
