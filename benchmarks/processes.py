"""Two processes that train one mixture on this machine: equal to one process, stopped, killed and hung.

`python benchmarks/processes.py` writes benchmarks/results/processes.json and the table in the docs. Processes
are forked copies of this one, joined by gloo as `torchrun` would join them. Batch norm is frozen: its statistics over
half a batch would be others, and those over all processes exist on GPUs only.

Sums over two processes are rounded otherwise. That is a matter of the last bits, but for the kinks of ReLU: where its
input is 0 but for rounding, one side lets a gradient through and the other does not. So what is asked for with ReLU is
also asked for with a network of smooth activations.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from trainings import RESULTS, write_table

import mge
import mge.training.run
from mge.data.sources.beetles import draw_beetles
from mge.storage.checkpoint import load_checkpoint
from mge.storage.run_folder import Run
from mge.training import loop
from mge.training.step import train_step

NUM_TEST = 103  # no even number: one process has one photo more
OPTIONS: dict[str, Any] = {
    "preset": "scratch", "fusion": "all", "part_norm": "none", "normalization": "imagenet",
    "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 2, "part_filters": 2, "batch_size": 12,
    "epochs": 7, "accelerator": "cpu", "schedule": "joint", "batch_norm": "frozen", "workers": 0, "cache": "yes",
    # Whole pixels: others hand rounding on to the next view, and losses differ by 5e-5 in the end.
    "box_method": "threshold",
    "jitter": 0.2, "precision": "float32", "checkpoint_steps": 3, "ema": 0.9,
    # With the crops of seed 0 a kink is met: losses are equal for four epochs, then 0.006 apart. Of the seeds 1 to 3:
    # 0.0002, 0.00003 and 0.000003.
    "seed": 3,
}  # fmt: skip

SMOOTH: dict[str, Any] = {"backbone": "test_efficientnet"}  # its activations are SiLU


def main() -> None:
    """Does everything that is asked for, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=10, help="how many runs are asked to stop")
    parser.add_argument("--kills", type=int, default=3, help="how many runs lose a process")
    parser.add_argument("--epochs", type=int, default=OPTIONS["epochs"], help="how long each run is, of 8 steps each")
    parser.add_argument("--json", type=Path, help="write the figures there, and leave the docs alone")
    given = parser.parse_args()
    OPTIONS["epochs"] = given.epochs
    mge.training.run.draw_best = lambda *_, **__: None  # takes as long as an epoch, and nobody looks at it
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photos = draw_beetles(root / "beetles", train=96, val=24, test=NUM_TEST, side=128)
        two = train(photos, root / "two", world=2)
        figures: dict[str, Any] = {
            "equal": compare(train(photos, root / "one", world=1), two),
            "signals": stop_often(photos, two, times=given.signals),
            "kills": kill_often(photos, two, times=given.kills),
            "hung": hang(photos, root / "hung"),
            "smooth": with_smooth_activations(photos, root),
        }
        if given.json is None:
            local = [
                train(photos, root / f"local{world}", world=world, batch_norm="local", epochs=2) for world in (1, 2)
            ]
            figures["local_batch_norm"] = compare(*local)
    write(figures, file=given.json)


def train(photos: Path, folder: Path, *, world: int, **options: Any) -> Run:  # noqa: ANN401
    """A run that nothing happens to."""
    codes = wait(start(photos, folder, world=world, **options))
    if any(codes):
        sys.exit(f"a training on {world} processes ended with {codes}: {log_of(folder, 0)}")
    return Run(folder)


def start(
    photos: Path, folder: Path, *, world: int, before_step: Callable[[int, int], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> list[int]:  # fmt: skip
    """Processes that train together, or go on; `before_step` is called with the rank and the number of each step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = run_rank(photos, folder, rank, world, port, before_step, {**OPTIONS, **options})
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        children.append(child)
    return children


def run_rank(
    photos: Path, folder: Path, rank: int, world: int, port: int, before_step: Callable[[int, int], None] | None,
    options: dict[str, Any],
) -> int:  # fmt: skip
    """One process of a training; its exit code."""
    log = os.open(folder.parent / f"{folder.name}-{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "here", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    losses: list[list[float]] = []

    def step(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401
        if before_step is not None:
            before_step(rank, len(losses))
        measured = train_step(*args, **keywords)
        losses.append(measured.losses.tolist())
        return measured

    loop.train_step = step
    try:
        if (folder / "checkpoints").exists():
            mge.train(resume=folder)
        else:
            mge.train(photos, out=folder, **options)
    except mge.MgeError as error:
        sys.stderr.write(f"mge: error: {error}\n")
        sys.stderr.flush()
        return error.exit_code
    (folder / f"losses-{rank}.json").write_text(json.dumps(losses), encoding="utf-8")
    return 0


def wait(children: list[int]) -> list[int]:
    """The exit codes of processes; that of a signal is negative."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def compare(one: Run, two: Run) -> dict[str, Any]:
    """How far two processes are from one: the loss of each step, the weights, the figures at the end."""
    first = torch.tensor(losses_of(one, 0))
    second = torch.stack([torch.tensor(losses_of(two, rank)) for rank in range(2)]).mean(0)
    final = ("mixture_top1", "experts_top1", "num_photos", "oracle_top1")
    return {
        "steps": len(first),
        "largest_difference_of_losses": (first - second).abs().max().item(),
        "largest_loss": first.max().item(),
        "largest_difference_of_weights": largest_difference(one, two),
        "same_figures": all(one.summary()[name] == two.summary()[name] for name in final),
        "test_photos_counted": two.summary()["num_photos"],
    }


def losses_of(run: Run, rank: int) -> list[list[float]]:
    """The losses that one process saw, step by step."""
    losses: list[list[float]] = json.loads((run.folder / f"losses-{rank}.json").read_text(encoding="utf-8"))
    return losses


def largest_difference(one: Run, two: Run) -> float:
    """Between the weights of two last models."""
    first, second = (load_file(run.last / "model.safetensors") for run in (one, two))
    return max((tensor.double() - second[name].double()).abs().max().item() for name, tensor in first.items())


def digest(run: Run) -> str:
    """SHA-256 of the last model's weights."""
    return hashlib.sha256((run.last / "model.safetensors").read_bytes()).hexdigest()


def last_step() -> int:
    """The number of the last step in which something may happen to a run, so that it has some more to go."""
    return 8 * int(OPTIONS["epochs"]) - 6


def stop_often(photos: Path, whole: Run, *, times: int) -> dict[str, Any]:
    """Sends one of the processes a signal, each time in another step; both have to stop, and the run to go on."""
    chance, runs = random.Random(0), []
    for number in range(times):
        folder = whole.folder.with_name(f"stopped{number}")
        at, who = chance.randrange(1, last_step()), chance.randrange(2)
        sent = (signal.SIGTERM, signal.SIGINT)[number % 2]

        def tell(rank: int, step: int, *, at: int = at, who: int = who, sent: int = sent) -> None:
            if (rank, step) == (who, at):
                os.kill(os.getpid(), sent)

        began = time.monotonic()
        codes = wait(start(photos, folder, world=2, before_step=tell))
        position = load_checkpoint(Run(folder).checkpoint_path)["position"]
        runs.append({
            "signal": int(sent), "to_rank": who, "in_step": at, "exit_codes": codes,
            "saved_after_step": position["epoch"] * 8 + position["batch"],
            "seconds": round(time.monotonic() - began, 1),
        })  # fmt: skip
        resumed = train(photos, folder, world=2)
        runs[-1] |= {"same_bits": digest(resumed) == digest(whole), "same_rows": untimed(resumed) == untimed(whole)}
    return {
        "runs": runs,
        "clean": sum(run["exit_codes"] == [128 + run["signal"]] * 2 for run in runs),
        "at_the_step": sum(run["saved_after_step"] == run["in_step"] + 1 for run in runs),
        "same_bits": sum(run["same_bits"] for run in runs),
        "same_rows": sum(run["same_rows"] for run in runs),
    }


def untimed(run: Run) -> list[dict[str, float]]:
    """The rows of metrics.csv without what a clock measured."""
    clock = ("seconds", "data_wait_percent")
    return [{name: value for name, value in row.items() if name not in clock} for row in run.metrics()]


def kill_often(photos: Path, whole: Run, *, times: int) -> list[dict[str, Any]]:
    """Kills one of the processes; the other one has to end, and the run to go on, on two processes or on one."""
    chance, runs = random.Random(1), []
    for number in range(times):
        folder, world = whole.folder.with_name(f"killed{number}"), 1 if number == times - 1 else 2
        runs.append(kill(photos, folder, whole, at=chance.randrange(4, last_step()), who=number % 2, go_on_with=world))
    return runs


def kill(
    photos: Path, folder: Path, whole: Run, *, at: int, who: int, go_on_with: int, **options: Any  # noqa: ANN401
) -> dict[str, Any]:  # fmt: skip
    """Kills a process in a step, lets the run go on, and compares it with the one that nothing happened to."""
    killed_at = folder.with_name(f"{folder.name}-killed-at")

    def die(rank: int, step: int) -> None:
        if (rank, step) == (who, at):
            killed_at.write_text(str(time.monotonic()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    codes = wait(start(photos, folder, world=2, before_step=die, **options))
    seconds, said = time.monotonic() - float(killed_at.read_text(encoding="utf-8")), log_of(folder, 1 - who)
    resumed = train(photos, folder, world=go_on_with, **options)
    return {
        "killed_rank": who, "in_step": at, "exit_codes": codes, "seconds_until_all_gone": round(seconds, 1),
        "said": said, "went_on_with_processes": go_on_with, "same_bits": digest(resumed) == digest(whole),
        "largest_difference_of_weights": largest_difference(resumed, whole),
    }  # fmt: skip


def with_smooth_activations(photos: Path, root: Path) -> dict[str, Any]:
    """Two processes beside one, and one that goes on with what two began, in a network without kinks."""
    one, two = (train(photos, root / f"smooth{world}", world=world, **SMOOTH) for world in (1, 2))
    killed = kill(photos, root / "smooth-killed", two, at=6, who=0, go_on_with=1, **SMOOTH)
    return {"options": SMOOTH, "equal": compare(one, two), "killed": killed}


def hang(photos: Path, folder: Path, *, patience: float = 4.0) -> dict[str, Any]:
    """Lets one process hang in a step; the other one has to notice."""

    def sleep(rank: int, step: int) -> None:
        if (rank, step) == (1, 9):
            (folder / "hung").write_text(str(time.monotonic()), encoding="utf-8")
            time.sleep(600)

    children = start(photos, folder, world=2, before_step=sleep, process_timeout=patience)
    (code,) = wait(children[:1])
    seconds = time.monotonic() - float((folder / "hung").read_text(encoding="utf-8"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(children[1], signal.SIGKILL)
    wait(children[1:])
    return {"patience": patience, "exit_code": code, "seconds": round(seconds, 1), "said": log_of(folder, 0)}


def log_of(folder: Path, rank: int) -> str:
    """The last line that a process wrote."""
    lines = (folder.parent / f"{folder.name}-{rank}.log").read_text(encoding="utf-8").strip().splitlines()
    return lines[-1].replace(str(folder), folder.name) if lines else ""


def write(figures: dict[str, Any], *, file: Path | None) -> None:
    """Writes the figures as JSON, and as a table into the docs."""
    head = {"command": "python benchmarks/processes.py", "options": OPTIONS, "torch": torch.__version__}
    text = json.dumps({**head, **figures}, indent=1) + "\n"
    if file is not None:
        file.write_text(text, encoding="utf-8")
        return
    (RESULTS / "processes.json").write_text(text, encoding="utf-8")
    equal, local, stops, kills, hung, smooth = (
        figures[name] for name in ("equal", "local_batch_norm", "signals", "kills", "hung", "smooth")
    )
    same = sum(kill["same_bits"] for kill in kills if kill["went_on_with_processes"] == 2)
    number = len(stops["runs"])
    write_table("processes", [
        ["two processes and one, or two that are disturbed", "measured"],
        [f"largest difference of a loss in {equal['steps']} steps", f"{equal['largest_difference_of_losses']:.1e}"],
        ["largest difference of a weight at the end", f"{equal['largest_difference_of_weights']:.1e}"],
        ["the two with SiLU in place of ReLU", differences(smooth["equal"])],
        ["accuracy of each expert and of the mixture", "the same" if equal["same_figures"] else "DIFFERS"],
        [f"test photos counted, of {NUM_TEST}", str(equal["test_photos_counted"])],
        ["the loss with batch norm that learns in each process", f"{local['largest_difference_of_losses']:.1e}"],
        ["a signal to one of them: both end with 143 or 130", f"{stops['clean']} of {number}"],
        ["both have saved after the step in which it came", f"{stops['at_the_step']} of {number}"],
        ["gone on with, the last weights have the same bits", f"{stops['same_bits']} of {number}"],
        ["one is killed: seconds until the other has ended", str(max(k["seconds_until_all_gone"] for k in kills))],
        ["gone on with on two, the same bits", f"{same} of {len(kills) - 1}"],
        ["gone on with on one, largest difference of a weight", f"{kills[-1]['largest_difference_of_weights']:.1e}"],
        ["that with SiLU in place of ReLU", f"{smooth['killed']['largest_difference_of_weights']:.1e}"],
        [f"one hangs, patience {hung['patience']:.0f} s: the other ends after", f"{hung['seconds']} s"],
    ])  # fmt: skip


def differences(found: dict[str, Any]) -> str:
    """What `compare` found, in short."""
    return f"{found['largest_difference_of_losses']:.1e}; {found['largest_difference_of_weights']:.1e}"


if __name__ == "__main__":
    main()
