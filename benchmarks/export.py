"""Whether an exported mixture answers as the network does, and how quickly: ONNX Runtime beside eager PyTorch.

`python benchmarks/export.py [RUN PHOTOS]` exports untrained mixtures of a ResNet, a ConvNeXt and a ViT, and a trained
run where one is given, asks graph and network about 200 photos (drawn beetles where none are given) in batches of 1, 7
and 32, and times both in turns, one thread each. It writes benchmarks/results/export.json and the table in
docs/results.md. With --out FILE, for a trial, it writes that file only.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trainings import RESULTS, write_table

from mge.data.drawn_beetles import BEETLE_CLASSES, draw_beetle
from mge.data.preprocess import Pixels
from mge.data.sources import find_photos
from mge.errors import DataError
from mge.exporting.artifacts import describe, open_mixture, write_mixture
from mge.exporting.parity import BATCH_SIZES, measure_parity
from mge.inference.classifier import Classifier
from mge.inference.prediction import Photo
from mge.models.mixture import create_model
from mge.storage.environment import describe_environment
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

CHECKED, ROUNDS, EXPERTS, SIZE, DETAIL = 200, 5, 3, 128, 2.0
UNTRAINED = ("resnet18", "convnext_atto", "vit_tiny_patch16_224")


def untrained(backbone: str, *, class_names: tuple[str, ...]) -> StoredModel:
    """A mixture with random weights, as a model folder would hold it."""
    torch.manual_seed(0)
    model = create_model(
        backbone, num_classes=len(class_names), experts=EXPERTS, size=SIZE, zoom_resolution=DETAIL, pretrained=False
    )
    return StoredModel(model.config, class_names, model.state_dict(), {})


def choose_photos(folder: str | None) -> list[Photo]:
    """200 photos of a folder, evenly spread, or as many drawn beetles."""
    if folder is None:
        return [draw_beetle(number % len(BEETLE_CLASSES), seed=number).image for number in range(CHECKED)]
    files = find_photos([folder])
    return list(files[:: max(1, len(files) // CHECKED)][:CHECKED])


def prepare(classifier: Classifier, photos: list[Photo]) -> Pixels:
    """The photos that can be read, as the network takes them."""
    prepared = []
    for photo in photos:
        try:
            prepared.append(classifier.prepare(photo).image.numpy())
        except DataError:
            continue
    return np.stack(prepared)


def interleave(one: Callable[[], object], other: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds of processor time of both, in turns, after a round that does not count."""

    def seconds(work: Callable[[], object]) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return [(seconds(one), seconds(other)) for _ in range(ROUNDS + 1)][1:]


def measure(stored: StoredModel, photos: list[Photo], folder: Path) -> dict[str, Any]:
    """Parity and speed of one mixture, by batch size."""
    classifier = Classifier.from_stored(stored)
    model, images = classifier.model, prepare(classifier, photos)
    started = time.perf_counter()
    run = open_mixture(write_mixture(model, describe(stored), folder), threads=1)
    figures: dict[str, Any] = {"export_seconds": round(time.perf_counter() - started, 1), "batches": {}}
    for size in BATCH_SIZES:
        parity = measure_parity(run, model, images, batch_sizes=[size])
        batch = images[:size]
        with torch.inference_mode():
            pairs = interleave(lambda batch=batch: run(batch), lambda batch=batch: model(torch.from_numpy(batch)))
        ratios = [onnx / eager for onnx, eager in pairs]
        onnx_seconds, eager_seconds = (statistics.median(column) / size for column in zip(*pairs, strict=True))
        figures["batches"][size] = {
            **parity._asdict(), "is_same": parity.is_same, "onnx_ms": round(1000 * onnx_seconds, 2),
            "eager_ms": round(1000 * eager_seconds, 2), "ratio": round(statistics.median(ratios), 3),
            "ratio_low": round(min(ratios), 3), "ratio_high": round(max(ratios), 3),
        }  # fmt: skip
    return figures


def write(figures: dict[str, Any]) -> None:
    """Writes the figures as JSON, and as a table into the docs."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "export.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = [["mixture, batch", "same prediction", "probabilities", "boxes, px", "ONNX Runtime, ms a photo",
             "PyTorch, ms a photo", "ratio", "lowest to highest"]]  # fmt: skip
    for name, found in figures["mixtures"].items():
        for size, row in found["batches"].items():
            rows.append(
                [f"{name}, {size}", f"{row['num_same_top1']} of {row['num_photos']}",
                 f"{row['probability_difference']:.1e}", f"{row['box_difference_px']:.2g}", f"{row['onnx_ms']:.1f}",
                 f"{row['eager_ms']:.1f}", f"**{row['ratio']:.2f}**",
                 f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"]
            )  # fmt: skip
    write_table("export", rows)


def main() -> None:
    """Exports, compares and times, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="a trained run")
    parser.add_argument("photos", nargs="?", help="folder of photos")
    parser.add_argument("--out", type=Path, help="JSON file for a trial; the page is left as it is")
    given = parser.parse_args()
    torch.set_num_threads(1)
    mixtures, names = {}, BEETLE_CLASSES
    if given.run:
        trained = load_model(find_model_folder(given.run))
        names = trained.class_names
        mixtures[f"{trained.config.backbone}, {trained.config.size} px, trained"] = trained
    mixtures |= {f"{name}, {SIZE} px": untrained(name, class_names=names) for name in UNTRAINED}
    figures: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/export.py", *map(str, filter(None, (given.run, given.photos)))]),
        "environment": describe_environment(), "load_average": os.getloadavg()[1], "rounds": ROUNDS, "mixtures": {},
    }  # fmt: skip
    for name, stored in mixtures.items():
        with tempfile.TemporaryDirectory() as folder:
            figures["mixtures"][name] = measure(stored, choose_photos(given.photos), Path(folder))
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    else:
        write(figures)


if __name__ == "__main__":
    main()
