"""Resources available to this process, shared with other training processes and limited in containers."""

import os
import re
import shutil
import sys
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container, as Linux shows them
SHARED_MEMORY = Path("/dev/shm")


def num_processes() -> int:
    """Return the number of training processes on this machine, as given by torchrun or Lightning Fabric's launcher."""
    # With Fabric's launcher on several machines this counts all of them: too few workers are better than too many.
    said = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or ""
    return max(1, int(said)) if said.isdecimal() else 1


def num_cores(cgroup: Path = CGROUP) -> int:
    """Return this process's share of the cores: at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        allowed = min(allowed, round(int(quota) / int(period)))
    return max(1, allowed // num_processes())


def free_memory(cgroup: Path = CGROUP) -> int:
    """Return this process's share of the free memory, in bytes."""
    free: int = psutil.virtual_memory().available
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdecimal() and used.isdecimal():
        # Of the used memory, the page cache of files that are not in use is reclaimed first.
        cached = re.search(r"^inactive_file (\d+)$", _read(cgroup / "memory.stat"), re.MULTILINE)
        free = min(free, max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0)))
    return free // num_processes()


def free_shared_memory(folder: Path = SHARED_MEMORY) -> int:
    """Return this process's share of the shared memory, through which workers send photos, in bytes."""
    if sys.platform != "linux":
        return int(psutil.virtual_memory().available) // num_processes()
    if not os.access(folder, os.W_OK | os.X_OK):  # some sandboxes have none
        return 0
    return shutil.disk_usage(folder).free // num_processes()


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii").strip() if file.is_file() else ""
