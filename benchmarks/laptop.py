"""Accuracy and processor time of the preset `laptop`: heads on cached features of one frozen backbone.

`python benchmarks/laptop.py FOLDER` trains on one thread and writes benchmarks/results/laptop.json. The folder has
`logos/manifest.csv`, `grocery` and `weights/tf_efficientnet_lite0.safetensors`. The time is that of the whole command,
from its start to its summary: user and system time of the process, which other work on the machine hardly changes.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results" / "laptop.json"
RUNS = Path(__file__).parent.parent / "runs" / "benchmarks"
DATA = {"logos": "logos/manifest.csv", "grocery": "grocery"}
KEPT = ("split", "num_photos", "mixture_top1", "experts_top1", "large_top1", "first_expert_top1", "fusion")
BACKBONE = "tf_efficientnet_lite0"


def main() -> None:
    """Train on each data set that has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=DATA, action="append")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only or DATA:
        results[name] = measure(name, options.folder)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Train on a data set, and return its summary and the processor time."""
    run = RUNS / f"laptop_{name}"
    command = [
        sys.executable, "-m", "mge", "train", str(folder / DATA[name]), "--preset", "laptop", "--backbone", BACKBONE,
        "--weights", str(folder / "weights" / f"{BACKBONE}.safetensors"), "--out", str(run),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return {
        "command": " ".join(command[2:]),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
        **{key: summary[key] for key in KEPT if key in summary},
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
    }


if __name__ == "__main__":
    main()
