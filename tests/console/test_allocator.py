"""Whether freed memory stays, seen from outside: in the pages that Linux has to fill."""

import subprocess
import sys

import pytest

from mge.console.allocator import keep_freed_memory

PROGRAM = """
import mmap, resource, sys
from mge.console.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes(bytearray(64 << 20))[-1]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way")
def test_large_memory_is_filled_by_the_system_once_only() -> None:
    pages = {}
    for way in ("default", "kept"):
        command = [sys.executable, "-c", PROGRAM, way]
        pages[way] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert pages["kept"] < 100
    assert pages["default"] > 10 * max(1, pages["kept"])


def test_a_system_that_knows_no_such_thing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
