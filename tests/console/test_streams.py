"""Standard output and error that are closed, full, unread or know few letters: one line, and an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
# A verb that writes a class's name, and one that writes more than a pipe holds.
PROGRAM = """
import sys, types, mge
from mge.cli import main
module = types.ModuleType("mge.tasks.fake")
def fake(data: str | None = None) -> None:
    "Writes a name."
    sys.stdout.write("\\u0436\\u0443\\u043a\\n" * (100_000 if data == "long" else 1))
    if data == "fails":
        raise mge.DataError("one photo could not be read")
def table() -> None:
    "Writes a table."
    from mge.console.tables import say
    for length in (1, *200 * [1000]):
        say("x" * length)
    sys.stderr.write("done\\n")
module.fake = fake
tables = types.ModuleType("mge.tasks.table")
tables.table = table
sys.modules |= {"mge.tasks.fake": module, "mge.tasks.table": tables}
mge.VERBS = (*mge.VERBS, "fake", "table")
sys.exit(main(sys.argv[1:]))
"""


def run(*args: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the program with its streams as a shell makes them."""
    command = ["bash", "-c", f'set -o pipefail; "$@" {shell}', "-", sys.executable, "-c", PROGRAM, *args]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
    )


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_one_line_and_exit_code_74(unbuffered: str) -> None:
    done = run("fake", shell=">/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 74
    assert done.stderr == (
        "mge: error: standard output was not written completely: No space left on device; free some space, or "
        "redirect it elsewhere\n"
    )
    assert run("fake", shell=">/dev/full 2>/dev/full", PYTHONUNBUFFERED=unbuffered).returncode == 74


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is full")
def test_an_error_stays_the_only_line_where_the_output_is_full_too() -> None:
    done = run("fake", "fails", shell=">/dev/full")
    assert (done.returncode, done.stderr) == (2, "mge: error: one photo could not be read\n")


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1"])
def test_letters_that_the_output_does_not_know_become_escapes(encoding: str) -> None:
    done = run("fake", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u0436\\u0443\\u043a\n", "")
    done = run("fake", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u0436\\u0443\\u043a\n", "")


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(shell: str) -> None:
    assert run("fake", shell=shell).returncode == 0
    assert run("fake", "fails", shell=shell).returncode == 2


def test_a_reader_that_has_seen_enough_ends_what_only_writes_and_no_other_work() -> None:
    done = run("fake", "long", shell="| head -1")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (141, 1, "")
    done = run("table", shell="| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "done\n")
