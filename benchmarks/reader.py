"""How quickly photos are read, beside torchvision's plain pipeline, and how long a training waits for them.

`python benchmarks/reader.py` draws photo-like JPEGs, `python benchmarks/reader.py FOLDER` takes those of class folders.
It writes benchmarks/results/reader.json and the table in docs/results.md.

One process on one thread is measured in seconds of its core, which hardly depend on what else the machine does; two
workers are measured by the clock. The pipelines take turns on the same photos.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from trainings import RESULTS, write_table

import mge
from mge.config import DataConfig
from mge.data.dataset import PhotoDataset
from mge.data.loader import epoch_batches, load_batches
from mge.data.records import Record
from mge.storage.environment import describe_environment

SIDE, RESIZED = 448, 512
BATCH_SIZE = 16
FLIP = [v2.RandomHorizontalFlip(), v2.ToImage()]

# What a crop is called → our options, torchvision's transforms.
CROPS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "paper's crop": ({}, [v2.Resize(RESIZED), v2.RandomCrop(SIDE), *FLIP]),
    "resized crop": ({"resized_crop": 0.08}, [v2.RandomResizedCrop(SIDE), *FLIP]),
}


def main() -> None:
    """Reads, trains a few steps, and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="class folders of photos; drawn where there is none")
    parser.add_argument("--photos", type=int, default=96, help="how many are read in a round")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pipeline reads them")
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        sets = {str(arguments.folder): arguments.folder}
        if arguments.folder is None:
            sets = {
                "500 x 375 px": draw_photos(Path(scratch) / "web", size=(500, 375), count=arguments.photos),
                "4000 x 3000 px": draw_photos(Path(scratch) / "camera", size=(4000, 3000), count=arguments.photos // 8),
            }
        reading = [
            {"photos": name, "crop": crop, **compare(folder, crop, limit=arguments.photos, rounds=arguments.rounds)}
            for name, folder in sets.items()
            for crop in CROPS
        ]
        torch.set_num_threads(threads)
        waiting = wait_percent(next(iter(sets.values())), Path(scratch) / "run")
    write(reading, waiting)


def draw_photos(folder: Path, *, size: tuple[int, int], count: int) -> Path:
    """Pictures with detail of every size and some noise, as photos have, in two classes."""
    for number in range(max(count, 4)):
        rng = np.random.default_rng(number)
        picture = np.zeros((size[1], size[0], 3), dtype=np.float32)
        for cells in (4, 16, 64):
            coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            picture += np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) * np.float32(0.6 / cells**0.3)
        picture += rng.normal(0, 3, (size[1], size[0], 1)).astype(np.float32)
        file = folder / ("even", "odd")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return folder


def compare(folder: Path, crop: str, *, limit: int, rounds: int) -> dict[str, Any]:
    """Photos a second of both pipelines on the same photos."""
    options, steps = CROPS[crop]
    theirs = ImageFolder(str(folder), transform=v2.Compose(steps))
    theirs.samples = theirs.samples[:: max(1, len(theirs.samples) // limit)][:limit]
    names = tuple(theirs.classes)
    records = [Record(Path(path), names[label], split="train") for path, label in theirs.samples]
    config = DataConfig(cache="no", crop_fraction=SIDE / RESIZED, **options)
    mine = PhotoDataset(records, names, side=SIDE, config=config, train=True)
    batches = epoch_batches(len(mine), batch_size=BATCH_SIZE, seed=0, epoch=0, shuffle=True, drop_last=False)

    def alone(read: Callable[[int], object]) -> Callable[[], object]:
        return lambda: [read(number) for number in range(len(records))]

    core = interleave(
        alone(lambda number: mine[0, number]), alone(lambda number: theirs[number]), time.process_time, rounds=rounds
    )
    workers = interleave(
        lambda: list(load_batches(mine, batches, epoch=0, workers=2)),
        lambda: list(DataLoader(theirs, batch_sampler=batches, num_workers=2, prefetch_factor=4)),
        time.perf_counter, rounds=rounds,
    )  # fmt: skip
    return {
        "num_photos": len(records),
        "one_core": rates(core, len(records)),
        "two_workers": rates(workers, len(records)),
    }


def interleave(
    mine: Callable[[], object], theirs: Callable[[], object], clock: Callable[[], float], *, rounds: int
) -> list[tuple[float, float]]:
    """Seconds of both, in turns, after one round that does not count."""

    def seconds(work: Callable[[], object]) -> float:
        started = clock()
        work()
        return clock() - started

    return [(seconds(mine), seconds(theirs)) for _ in range(rounds + 1)][1:]


def rates(pairs: list[tuple[float, float]], num_photos: int) -> dict[str, float]:
    """Photos a second of both, and how many times quicker ours is: the median of neighbouring rounds, and the range."""
    ratios = [theirs / mine for mine, theirs in pairs]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    figures = {"mge": num_photos / mine, "torchvision": num_photos / theirs, "ratio": statistics.median(ratios)}
    figures |= {"ratio_low": min(ratios), "ratio_high": max(ratios)}
    return {name: round(figure, 2) for name, figure in figures.items()}


def wait_percent(folder: Path, run: Path, *, limit: int = 10) -> dict[str, float]:
    """What a real training of a ResNet-50 at 448 px waits for its photos, read anew from disk; a few steps suffice."""
    files = sorted(folder.rglob("*.jpg"))
    few = run.parent / "few"
    for number, file in enumerate(files[:: max(1, len(files) // limit)][:limit]):
        target = few / ("even", "odd")[number % 2] / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.resolve())
    finished = mge.train(
        few, out=run, backbone="resnet50", pretrained=False, experts=1, part_filters=0, size=SIDE, epochs=1,
        batch_size=2, schedule="joint", cache="no", test_fraction=0.1, val_fraction=0.0,
    )  # fmt: skip
    (row,) = finished.metrics()
    return {
        "data_wait_percent": float(row["data_wait_percent"]),
        "photos": int(row["num_photos"]),
        "seconds": float(row["seconds"]),
    }


def write(reading: list[dict[str, Any]], waiting: dict[str, float]) -> None:
    """Writes the figures as JSON, and as a table into docs/results.md."""
    figures = {
        "command": "python benchmarks/reader.py",
        "environment": describe_environment(),
        "reading": reading,
        "training_resnet50_448": waiting,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "reader.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = [["photos, crop, readers", "MGE, photos/s", "torchvision, photos/s", "ratio", "lowest to highest"]]
    for row in reading:
        for key, name in (("one_core", "one core"), ("two_workers", "two workers")):
            found = row[key]
            spread = f"{found['ratio_low']:.2f} to {found['ratio_high']:.2f}"
            rows.append(
                [f"{row['photos']}, {row['crop']}, {name}", f"{found['mge']:.0f}", f"{found['torchvision']:.0f}",
                 f"**{found['ratio']:.2f}**", spread]
            )  # fmt: skip
    rows.append(
        ["a training of ResNet-50 at 448 px waits for photos", f"{waiting['data_wait_percent']:.1f} %", "", "", ""]
    )
    write_table("reader", rows)


if __name__ == "__main__":
    main()
