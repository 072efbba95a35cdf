"""What heads cost as classes become many: parameters, time and memory of a training step, dense and classwise.

`python benchmarks/heads.py` writes benchmarks/results/heads.json and the table in the docs, in a few minutes.
The network is three experts of ResNet-18 at 224 px in float32. Times are those of the processor on one thread, which
other work on the machine hardly changes. Peak memory is the resident memory of a process of its own that takes two
training steps with all experts learning: the second one has the optimiser's momentum as well.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from trainings import RESULTS, write_table

from mge.config import ModelConfig, PartHead, TrainConfig
from mge.core.losses import expert_loss
from mge.data.loader import Batch
from mge.models.backbone import Backbone, FeatureMaps
from mge.models.expert import Expert
from mge.models.mixture import create_model
from mge.training.optimizer import build_optimizer
from mge.training.step import train_step, wrap

BACKBONE, SIZE, BATCH = "resnet18", 224, 8
NUM_CLASSES = (100, 1_000, 10_000)
KINDS: tuple[PartHead, ...] = ("dense", "classwise")
TOO_LARGE = {("dense", 10_000)}  # two billion weights an expert: 24 GB with their gradients and momentum


class Maps(nn.Module):
    """Stands for a backbone: gives the same feature maps each time."""

    def __init__(self, maps: FeatureMaps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, _views: Tensor) -> FeatureMaps:
        """The maps, which want a gradient as a backbone's do."""
        return FeatureMaps(*(tensor.detach().requires_grad_() for tensor in self.maps))


def heads_config(kind: PartHead) -> ModelConfig:
    """Heads of one kind that are the paper's otherwise."""
    return ModelConfig(part_filters=10, part_norm="none", part_head=kind)


class Heads:
    """One expert's heads, and a training step of them alone."""

    def __init__(self, maps: FeatureMaps, backbone: Backbone, *, kind: PartHead, num_classes: int) -> None:
        self.expert = Expert(backbone, heads_config(kind), num_classes=num_classes)
        self.expert.backbone = Maps(maps)
        self.targets = functional.one_hot(torch.arange(BATCH) % num_classes, num_classes).float()
        self.optimizer = torch.optim.SGD(self.expert.parameters(), lr=1e-3, momentum=0.9, foreach=True)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Forward, backward and new weights, timed."""
        started = time.process_time()
        loss = expert_loss(self.expert(torch.empty(0)), None, self.targets)
        loss.total(diversity_weight=1.0).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds.append(time.process_time() - started)


def main() -> None:
    """Measures every kind of heads at every number of classes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each step is timed; the quickest counts")
    parser.add_argument(
        "--step", nargs=2, metavar=("KIND", "CLASSES"), help="only take two steps, and say what it took"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)  # several would wait for each other, and count that as processor time
    if given.step:
        sys.stdout.write(json.dumps(whole_steps(given.step[0], int(given.step[1]))))
        return
    seconds = time_heads(rounds=given.rounds)
    rows = []
    for kind in KINDS:
        for num_classes in NUM_CLASSES:
            row = {"part_head": kind, "num_classes": num_classes, "parameters": count_parameters(kind, num_classes)}
            if (kind, num_classes) not in TOO_LARGE:
                row |= {"step_seconds": seconds[kind, num_classes], **in_own_process(kind, num_classes)}
            rows.append(row)
    write(rows, rounds=given.rounds)


def count_parameters(kind: PartHead, num_classes: int) -> int:
    """The weights of one expert's heads, which need no memory to be counted."""
    with torch.device("meta"):
        expert = Expert(Backbone(BACKBONE, pretrained=False), heads_config(kind), num_classes=num_classes)
    return sum(parameter.numel() for name, parameter in expert.named_parameters() if not name.startswith("backbone."))


def time_heads(*, rounds: int) -> dict[tuple[PartHead, int], float]:
    """Processor seconds of a training step of one expert's heads, in the quickest round."""
    backbone = Backbone(BACKBONE, pretrained=False)
    with torch.no_grad():
        maps = backbone(torch.randn(BATCH, 3, SIZE, SIZE))
    cases = [(kind, number) for kind in KINDS for number in NUM_CLASSES if (kind, number) not in TOO_LARGE]
    heads = {case: Heads(maps, backbone, kind=case[0], num_classes=case[1]) for case in cases}
    for _ in range(rounds + 1):
        for each in heads.values():
            each.step()
    return {case: min(each.seconds[1:]) for case, each in heads.items()}


def in_own_process(kind: PartHead, num_classes: int) -> dict[str, float]:
    """What two steps of the whole mixture take, in a process that has held nothing else."""
    command = [sys.executable, __file__, "--step", kind, str(num_classes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def whole_steps(kind: PartHead, num_classes: int) -> dict[str, float]:
    """Takes two training steps with three experts, and says how much memory was resident at the most."""
    model = create_model(
        BACKBONE, num_classes=num_classes, size=SIZE, part_filters=10, part_head=kind, pretrained=False
    )
    fabric, config = Fabric(accelerator="cpu", devices=1), TrainConfig()
    network, optimizer = wrap(fabric, model.train()), build_optimizer(model, config)
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    batch = Batch(images, torch.arange(BATCH) % num_classes, torch.arange(BATCH))
    targets, seconds = functional.one_hot(batch.labels, num_classes).float(), []
    for _ in range(2):
        started = time.process_time()
        train_step(fabric, network, batch, targets, config=config)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - started)
    return {"peak_bytes": peak_bytes(), "whole_step_seconds": seconds[-1]}


def peak_bytes() -> int:
    """The most memory that this process had resident; `getrusage` would begin with its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None, "Linux says this of every process"
    return 1024 * int(found[1])


def write(rows: list[dict[str, Any]], *, rounds: int) -> None:
    """Writes the figures as JSON, and as a table into the docs."""
    head = {
        "command": "python benchmarks/heads.py", "backbone": BACKBONE, "size": SIZE, "experts": 3, "batch_size": BATCH,
        "rounds": rounds, "threads": torch.get_num_threads(), "machine": platform.machine(), "torch": torch.__version__,
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**head, "rows": rows}, indent=1) + "\n"
    (RESULTS / "heads.json").write_text(text, encoding="utf-8")
    table = [[
        "part head, classes", "weights of one expert's heads", "for each class", "a step of the heads, s",
        "for each class, ms", "peak memory of a whole step, GiB",
    ]]  # fmt: skip
    for row in rows:
        number = row["num_classes"]
        cells = [
            f"{row['part_head']}, {number:,}",
            f"{row['parameters'] / 1e6:,.1f} M",
            f"{row['parameters'] // number:,}",
        ]
        if "step_seconds" in row:
            seconds = row["step_seconds"]
            cells += [f"{seconds:.2f}", f"{1000 * seconds / number:.2f}", f"{row['peak_bytes'] / 2**30:.2f}"]
        table.append(cells if "step_seconds" in row else [*cells, "does not fit", "", ""])
    write_table("heads", table)


if __name__ == "__main__":
    main()
