"""Kills small trainings at random moments, resumes them, and compares them with runs that were left alone.

`python benchmarks/kills.py` writes benchmarks/results/kills.json and the table in the docs, in 3 minutes. Each
way of training is killed several times in a row (SIGKILL to the run and its workers), a part of them at moments at
which a file lies half written; then it is left to finish. Weights, metrics.csv and summary.json have to be those of the
run that nobody stopped: the weights bit for bit, the metrics but for what a clock measured.

A run is a forked copy of this process, which has imported everything: only the training itself is killed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from trainings import RESULTS, write_table

import mge
import mge.training.run
from mge.data.sources.beetles import draw_beetles
from mge.storage.files import UNFINISHED
from mge.storage.run_folder import Run

TINY: dict[str, Any] = {
    "preset": "scratch", "fusion": "all",
    "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 2, "part_filters": 2, "batch_size": 6,
    "epochs": 3, "accelerator": "cpu", "backbone_lr": 1e-3, "head_lr": 1e-3, "checkpoint_steps": 2, "workers": 2,
    "cache": "no", "jitter": 0.2, "resized_crop": 0.3, "precision": "float32",
}  # fmt: skip
# By name: every part of a run that has a state, or that draws at random.
WAYS: dict[str, dict[str, Any]] = {
    "joint, averaged weights, mixup and cutmix": {
        "schedule": "joint", "ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "optimizer": "adamw", "erasing": 0.3,
    },
    "progressive, gradients of 2 batches, rare classes": {"accumulate": 2, "balance": "sampler", "clip_norm": 1.0},
    "bfloat16, averaged weights, RandAugment": {"precision": "bfloat16", "ema": 0.9, "schedule": "joint",
                                                "randaugment": 9},
    "checkpoint in every step, no workers": {"checkpoint_steps": 1, "workers": 0, "schedule": "joint", "epochs": 8},
}  # fmt: skip
TIMES = ("seconds", "data_wait_percent")


def main() -> None:
    """Kills every way of training, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=24, help="how many in all at the most, shared out over the ways of training"
    )
    parser.add_argument("--ways", type=int, default=len(WAYS), help="how many ways of training, the first ones")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", type=Path, help="write the figures there, and leave the docs alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(given.seed)
    names = list(WAYS)[: given.ways]
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_beetles(Path(folder) / "beetles", train=48, val=12, test=12)
        rows = [
            {"way": name, **try_way(photos, Path(folder) / str(number), WAYS[name], kills=kills, chance=chance)}
            for number, (name, kills) in enumerate(zip(names, shares(given.kills, len(names)), strict=True))
        ]
    write(rows, seed=given.seed, file=given.json)
    if not all(row["same_weights"] and row["same_metrics"] and row["same_summary"] for row in rows):
        sys.exit("a resumed run differs from the one that was left alone")


def shares(total: int, count: int) -> list[int]:
    """A number in `count` nearly equal parts."""
    return [(total + number) // count for number in range(count)]


def try_way(
    photos: Path, folder: Path, options: dict[str, Any], *, kills: int, chance: random.Random
) -> dict[str, Any]:
    """One run left alone, one killed again and again; and whether the two are the same."""
    options = {**TINY, **options}
    started = time.monotonic()
    finish(start(photos, folder / "whole", options))
    seconds = time.monotonic() - started
    deaths = []
    for number in range(kills):
        child = start(photos, folder / "killed", options)
        after = chance.uniform(0, 1.75 / kills) * seconds  # so that all lives together are about one run
        kill_in = kill_while_writing if number % 2 else kill_after
        deaths.append(kill_in(child, folder / "killed", after))
    finish(start(photos, folder / "killed", options))
    deaths = [death for death in deaths if not death.pop("was_over")]
    whole, killed = Run(folder / "whole"), Run(folder / "killed")
    return {
        "kills": len(deaths),
        "deaths": deaths,
        "seconds_alone": round(seconds, 1),
        "epochs": len(whole.metrics()),
        "same_weights": digests(whole) == digests(killed),
        "same_metrics": untimed(whole) == untimed(killed),
        "same_summary": whole.summary() == killed.summary(),
        "sha256": digests(whole)["last"],
    }


def start(photos: Path, folder: Path, options: dict[str, Any]) -> int:
    """A process of its own that trains, or goes on; its number is also that of its process group."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    log = os.open(folder.parent / "log.txt" if folder.parent.exists() else os.devnull, os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        resumes = (folder / "config.yaml").exists()
        mge.train(resume=folder) if resumes else mge.train(photos, out=folder, **options)
        code = 0
    finally:
        os._exit(code)


def finish(child: int) -> None:
    """Waits for a run, which must succeed."""
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"a training ended with the status {status}")


def kill_after(child: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Kills a run after a time."""
    time.sleep(seconds)
    return kill(child, folder)


def kill_while_writing(child: int, folder: Path, after: float) -> dict[str, Any]:
    """Kills a run when, after a time, the next checkpoint, model or metrics file is being written."""
    begun = time.monotonic()
    while not is_over(child) and not (time.monotonic() - begun > after and any(unfinished(folder))):
        time.sleep(0.0002)
    return kill(child, folder)


def kill(child: int, folder: Path) -> dict[str, Any]:
    """Kills a run and its workers at once, and says where it was."""
    was_over = is_over(child)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    half_written = sorted(path.name.split("-")[0].lstrip(".") for path in unfinished(folder))
    return {
        "was_over": was_over,
        "half_written": half_written,
        "metrics_rows": len(Run(folder).metrics()) if folder.exists() else 0,
    }


def is_over(child: int) -> bool:
    """Whether a process has ended; it is not collected."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def unfinished(folder: Path) -> Iterator[Path]:
    """What lies half written in a run folder."""
    with contextlib.suppress(OSError):  # names come and go
        yield from folder.rglob(f".*{UNFINISHED}")


def digests(run: Run) -> dict[str, str]:
    """SHA-256 of the weights of a run's models."""
    files = {name: run.folder / name / "model.safetensors" for name in ("best", "last")}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def untimed(run: Run) -> list[dict[str, float]]:
    """The rows of metrics.csv but for what a clock measured."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in run.metrics()]


def write(rows: list[dict[str, Any]], *, seed: int, file: Path | None) -> None:
    """Writes the figures as JSON, and as a table into the docs."""
    head = {
        "command": shlex.join(["python", "benchmarks/kills.py", *sys.argv[1:]]),
        "seed": seed, "options": TINY, "ways": WAYS,
        "machine": platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    text = json.dumps({**head, "rows": rows}, indent=1) + "\n"
    if file is not None:
        file.write_text(text, encoding="utf-8")
        return
    (RESULTS / "kills.json").write_text(text, encoding="utf-8")
    table = [["way of training", "kills", "of these, with a file half written", "weights", "metrics.csv", "summary"]]
    for row in rows:
        same = ["the same bits" if row["same_weights"] else "DIFFER"]
        same += ["the same" if row[name] else "DIFFER" for name in ("same_metrics", "same_summary")]
        table.append([row["way"], str(row["kills"]), str(sum(bool(d["half_written"]) for d in row["deaths"])), *same])
    write_table("kills", table)


if __name__ == "__main__":
    main()
