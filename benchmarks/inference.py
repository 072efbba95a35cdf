"""What each step of the fast path is worth: one mixture, run in every way that it can be run, in turns.

`python benchmarks/inference.py [RUN DATA]` times ResNet-50, 3 experts, shared gate, 448 px, batch 4, and the plain
backbones that it is made of; with a trained run it also says how far answers and boxes agree with eager float32 on the
test photos. It writes benchmarks/results/inference.json and the table in the docs. With --out FILE, for a trial,
it writes that file only.
"""

import argparse
import copy
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from trainings import RESULTS, write_table

import mge
from mge.config import DataConfig
from mge.console.allocator import keep_freed_memory
from mge.core.outputs import MixtureOutput
from mge.data.sources import read_photos
from mge.exporting.graph import OUTPUTS, to_graph, to_onnx
from mge.inference.agreement import ask_again, close_calls, compare
from mge.inference.compiled import compile_mixture, compile_network, concatenate, in_bfloat16, load_compiled
from mge.inference.fast_path import PROOF_PHOTOS
from mge.models.mixture import MixtureOfExperts, create_model
from mge.storage.environment import describe_environment

BASE = "eager, float32"
QUICK, AGAIN = "compiled and frozen, bfloat16", "compiled and frozen, bfloat16, close calls asked again"
EXPERTS, CLASSES, BATCH = 3, 81, 4  # as many classes as the grocery photos have that answers are compared on


class Floor(nn.Module):
    """Plain networks, one after the other, on pictures of the size of a view."""

    def __init__(self, backbone: str, *, in_bfloat16: bool = False) -> None:
        super().__init__()
        self.nets = nn.ModuleList(timm.create_model(backbone, num_classes=CLASSES) for _ in range(EXPERTS)).eval()
        self.in_bfloat16 = in_bfloat16

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Each network's logits; the first one's in float32, as the mixture's."""
        first, *later = self.nets
        logits = first(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            return (logits, *(net(images) for net in later))


def ways_of(model: MixtureOfExperts, folder: Path, *, onnx: bool = True) -> dict[str, Callable[[Tensor], Any]]:
    """Every way to run a mixture, by its name. Compiling takes minutes."""
    last = torch.channels_last
    ways: dict[str, Callable[[Tensor], Any]] = {
        BASE: model,
        "eager, float32, channels last": copy.deepcopy(model).to(memory_format=last),
        "eager, bfloat16, channels last": in_bfloat16(model).to(memory_format=last),
        "eager, bfloat16 of the first expert too, channels last": in_bfloat16(model, first_too=True).to(
            memory_format=last
        ),
    }
    for arithmetic in ("float32", "bfloat16"):
        file = folder / f"{arithmetic}.pt2"
        compile_mixture(model, file, arithmetic=arithmetic)
        ways[f"compiled and frozen, {arithmetic}"] = load_compiled(file, side=model.config.photo_side)
    if onnx and importlib.util.find_spec("onnxruntime") is not None:
        ways["ONNX Runtime, float32"] = in_onnx_runtime(model, folder / "model.onnx")
    return ways


def floors_of(backbone: str, views: Tensor, folder: Path) -> dict[str, Callable[[], Any]]:
    """The plain backbones, eager and compiled."""
    plain = Floor(backbone)
    floors: dict[str, Callable[[], Any]] = {"plain backbones, eager, float32": lambda: plain(views)}
    for arithmetic in ("float32", "bfloat16"):
        file = folder / f"floor-{arithmetic}.pt2"
        compile_network(Floor(backbone, in_bfloat16=arithmetic == "bfloat16"), views, file)
        graph = torch._inductor.aoti_load_package(str(file))
        floors[f"plain backbones, compiled and frozen, {arithmetic}"] = lambda graph=graph: graph(views)
    return floors


def in_onnx_runtime(model: MixtureOfExperts, file: Path) -> Callable[[Tensor], MixtureOutput]:
    """The mixture in ONNX Runtime, as `mge export` writes it."""
    import onnxruntime  # noqa: PLC0415  (an option)

    file.write_bytes(to_onnx(to_graph(model), inputs=["images"], outputs=list(OUTPUTS), metadata={}))
    session = onnxruntime.InferenceSession(str(file))
    fields = list(MixtureOutput._fields)
    return lambda images: MixtureOutput(*map(torch.from_numpy, session.run(fields, {"images": images.numpy()})))


def interleave(ways: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of every way, round by round; one round before does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: times[1:] for name, times in seconds.items()}


def ratio(times: list[float], base: list[float]) -> float:
    """The median over rounds of one way's time to another's in the same round."""
    return statistics.median(one / other for one, other in zip(times, base, strict=True))


def agreements(run: str, data: str, folder: Path) -> dict[str, dict[str, Any]]:
    """How far each way agrees with eager float32 on a trained run's test photos."""
    classifier = mge.load(run, fast=False)
    records = read_photos(data, config=DataConfig(cache="no")).split("test")
    photos = torch.stack([classifier.prepare(record.content).image for record in records])
    folder.mkdir()
    ways = ways_of(classifier.model, folder)
    outputs = {name: concatenate([way(batch) for batch in photos.split(BATCH)]) for name, way in ways.items()}
    found = {name: compare(output, outputs[BASE])._asdict() for name, output in outputs.items()}
    # As the fast path does, which knows how exact its graph is from the first photos.
    first = [MixtureOutput(*(field[:PROOF_PHOTOS] for field in outputs[name])) for name in (QUICK, BASE)]
    difference = compare(*first).probability_difference
    settled = ask_again(outputs[QUICK], classifier.model, photos, difference=difference)
    share = close_calls(outputs[QUICK], difference=difference).float().mean().item()
    return found | {AGAIN: compare(settled, outputs[BASE])._asdict() | {"asked_again": share}}


def main() -> None:
    """Times and compares, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="a trained run, for the agreement")
    parser.add_argument("data", nargs="?", default="beetles", help="its photos")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for a trial; the page is left as it is")
    given = parser.parse_args()
    keep_freed_memory()  # as `mge` does
    torch.manual_seed(0)
    model = create_model(given.backbone, num_classes=CLASSES, experts=EXPERTS, size=given.size, pretrained=False).eval()
    images = torch.randint(0, 256, (BATCH, 3, given.size, given.size), dtype=torch.uint8)
    load = os.getloadavg()[1]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        agreement = agreements(given.run, given.data, Path(folder) / "run") if given.run else {}
        mixtures = {name: (lambda way=way: way(images)) for name, way in ways_of(model, Path(folder)).items()}
        floors = floors_of(given.backbone, torch.randn(BATCH, 3, given.size, given.size), Path(folder))
        seconds = interleave({**mixtures, **floors}, rounds=given.rounds)
    base = seconds[BASE]
    figures = {
        "command": " ".join(["python", "benchmarks/inference.py", *([given.run, given.data] if given.run else [])]),
        "environment": describe_environment(), "load_average": load, "backbone": given.backbone, "size": given.size,
        "batch_size": BATCH, "rounds": given.rounds, "seconds": seconds,
        "ratios": {name: ratio(times, base) for name, times in seconds.items()},
        "floor_ratios": floor_ratios(seconds), "agreement": agreement,
    }  # fmt: skip
    out = given.out or RESULTS / "inference.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.out is None:
        write_table("inference", table(figures))


def floor_ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Each mixture beside the backbones run in the same way."""
    floor = {way: f"plain backbones, {way}" for way in seconds}
    return {way: ratio(seconds[way], seconds[floor[way]]) for way in seconds if floor[way] in seconds}


def table(figures: dict[str, Any]) -> list[list[str]]:
    """The figures as rows; the first is the head."""
    rows = [
        [
            "way",
            "time / eager float32",
            "time / plain backbones",
            "same prediction %",
            "largest Δp",
            "boxes: mean, worst IoU",
        ],
    ]
    for name in {**figures["ratios"], **figures["agreement"]}:
        found, beside = figures["agreement"].get(name), figures["floor_ratios"].get(name)
        time_taken = f"{figures['ratios'][name]:.2f}" if name in figures["ratios"] else ""
        boxes = f"{found['mean_iou']:.3f}, {found['worst_iou']:.3f}" if found else ""
        same = f"{100 * found['same_top1']:.1f}" if found else ""
        difference = f"{found['probability_difference']:.4f}" if found else ""
        rows.append([name, time_taken, f"{beside:.3f}" if beside else "", same, difference, boxes])
    if not any(name.startswith("ONNX") for name in figures["ratios"]):
        rows.append(["ONNX Runtime: not installed", "", "", "", "", ""])
    return rows


if __name__ == "__main__":
    main()
