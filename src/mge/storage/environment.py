"""Environment of a run, reported beside its metrics."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("mge", "torch", "torchvision", "timm", "lightning-fabric", "pillow", "numpy", "safetensors")
CHECKOUT = Path(__file__).parents[3]  # if mge is used from its repository


def describe_environment() -> dict[str, Any]:
    """Return date, command, versions and machine, JSON-able. Unknown values are None."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of mge's own repository, with `-dirty` if files were changed since."""
    if not (CHECKOUT / ".git").exists():
        return None
    git = ["git", "--no-optional-locks", "-C", str(CHECKOUT)]
    command = [*git, "describe", "--always", "--abbrev=40", "--dirty", "--match="]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def processor_lines(*beginnings: str) -> list[str]:
    """Return the lines of /proc/cpuinfo that begin so; nothing on systems other than Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    return [line for line in lines if line.startswith(beginnings)]


def _processor() -> str | None:
    """Return the processor's name."""
    names = [line.partition(":")[2].strip() for line in processor_lines("model name")]
    return names[0] if names else platform.processor() or None
