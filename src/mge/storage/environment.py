"""What a run ran on: what has to be said beside its figures."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("mge", "torch", "torchvision", "timm", "lightning-fabric", "pillow", "numpy", "safetensors")
CHECKOUT = Path(__file__).parents[3]  # where mge is used out of its repository


def describe_environment() -> dict[str, Any]:
    """Date, command, versions and machine, JSON-able. What cannot be found out is None."""
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
    """The commit of mge's own repository, with `-dirty` where files were changed since."""
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
    """What Linux says about each core, in lines that begin so; nothing where the system is another."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    return [line for line in lines if line.startswith(beginnings)]


def _processor() -> str | None:
    """The processor's name."""
    names = [line.partition(":")[2].strip() for line in processor_lines("model name")]
    return names[0] if names else platform.processor() or None
