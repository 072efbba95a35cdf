"""What training and inference on a CPU save: `python benchmarks/savings.py`, on one thread.

Forward and backward of part filters, written with sparse matrices and as autograd has them; and a forward of a plain
ResNet-50 in a process that keeps freed memory and in one that does not, in turns. Processor seconds. Writes
benchmarks/results/savings.json and the table in the docs.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import timm
import torch
from trainings import RESULTS, write_table

from mge.console.allocator import keep_freed_memory
from mge.models import heads

ROUNDS = 5  # after one that does not count
WAYS = {"sparse": heads.SPARSE_DEVICES, "dense": ()}  # the devices on which the layer may use sparse matrices
KEPT, GIVEN_BACK = "kept", "given back"


def main() -> None:
    """Measures both, and writes the figures."""
    torch.set_num_threads(1)
    if sys.argv[1:] in ([KEPT], [GIVEN_BACK]):
        sys.stdout.write(json.dumps(time_forward(keeps=sys.argv[1] == KEPT)))
        return
    filters = {str(count): time_filters(count) for count in (810, 2000)}
    runs = [{way: run_apart(way) for way in (GIVEN_BACK, KEPT)} for _ in range(3)]
    memory = {
        way: {name: statistics.median(run[way][name] for run in runs) for name in runs[0][way]}
        for way in (GIVEN_BACK, KEPT)
    }
    figures = {
        "command": "python benchmarks/savings.py", "load_average": os.getloadavg()[0], "part_filters": filters,
        "memory": memory,
    }  # fmt: skip
    (RESULTS / "savings.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = [["what", "before, s", "now, s", "page faults before", "now"]]
    for count, found in filters.items():
        what = f"forward and backward of {count} part filters on 4 maps of 1024 x 28 x 28"
        rows.append([what, f"{found['dense']:.3f}", f"{found['sparse']:.3f}", "", ""])
    columns = [[memory[way][name] for way in (GIVEN_BACK, KEPT)] for name in ("seconds", "faults")]
    what = "forward of a plain ResNet-50 on 4 photos of 448 px"
    rows.append([what, *(f"{value:.2f}" for value in columns[0]), *(f"{value:,.0f}" for value in columns[1])])
    write_table("savings", rows)


def time_filters(count: int) -> dict[str, float]:
    """Seconds of a forward and a backward, both ways in turn."""
    layer = heads.PartFilters(1024, count)
    features = torch.randn(4, 1024, 28, 28).relu().requires_grad_()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS + 1):
        for way, devices in WAYS.items():
            heads.SPARSE_DEVICES = devices  # type: ignore[assignment]
            seconds[way].append(time_once(lambda: layer(features).square().sum().backward()))
    return {way: statistics.median(times[1:]) for way, times in seconds.items()}


def run_apart(way: str) -> dict[str, float]:
    """What `time_forward` measures in a process of its own: memory once kept is kept for good."""
    done = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def time_forward(*, keeps: bool) -> dict[str, float]:
    """Seconds and page faults of a forward of a plain ResNet-50."""
    if keeps:
        keep_freed_memory()
    net, photos = timm.create_model("resnet50", num_classes=81).eval(), torch.randn(4, 3, 448, 448)
    seconds, faults = [], []
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            seconds.append(time_once(lambda: net(photos)))
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {"seconds": statistics.median(seconds[1:]), "faults": statistics.median(faults[1:])}


def time_once(work: Callable[[], object]) -> float:
    """Processor seconds of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
