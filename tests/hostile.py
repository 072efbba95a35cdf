"""Hostile input: files and folders that were made to crash, hang, fill memory or run code, each with how it is given.

`CASES` maps what is hostile to a function that writes it into a folder and says which command line meets it. Odd and
damaged photos are in `odd_photos`; here are the traps.
"""

import functools
import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from mge.config import ModelConfig
from mge.models.mixture import MixtureOfExperts
from mge.storage.checkpoint import save_checkpoint
from mge.storage.model_folder import StoredModel, save_model
from tests.hostile_photos import COSTLY
from tests.image_files import chunk, encode, png
from tests.odd_photos import ODD_PHOTOS
from tests.photos import write_class_folders, write_photo

TINY = ["--backbone", "test_resnet", "--no-pretrained", "--size", "64", "--experts", "2", "--part-filters", "2",
        "--epochs", "1", "--batch-size", "4", "--accelerator", "cpu", "--schedule", "joint"]  # fmt: skip
CONFIG = ModelConfig(backbone="test_resnet", experts=2, size=64, part_filters=2)
NAMES = ("apple", "lime", "plum")
Make = Callable[[Path], list[str]]


@functools.cache
def untrained() -> dict[str, torch.Tensor]:
    """The weights of a network that has learned nothing."""
    torch.manual_seed(0)
    return MixtureOfExperts.from_config(CONFIG, num_classes=len(NAMES)).state_dict()


def write_model(folder: Path) -> Path:
    """A model folder, untrained."""
    save_model(folder, StoredModel(CONFIG, NAMES, untrained(), {"preprocessing": {"resize": "short"}}))
    return folder


def lie(folder: Path, **changes: Any) -> None:  # noqa: ANN401
    """Changes model.json, and gives it and the weights the checksums that belong to them: who makes traps can count."""
    file, weights = folder / "model.json", folder / "model.safetensors"
    said = {**json.loads(file.read_text()), **changes, "checksum": "0" * 64}
    content = weights.read_bytes()
    said["weights"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    text = json.dumps(said)
    file.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1))


# Photos


def photo(content: Callable[[], bytes], name: str = "trap.jpg") -> Make:
    """A photo that is to be classified."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content())
        return ["predict", str(write_model(folder / "model")), str(folder / name)]

    return make


def odd(name: str) -> Make:
    """One of the odd photos."""
    made = ODD_PHOTOS[name]()
    return photo(lambda: made.content, made.file)


def text_bomb() -> bytes:
    """A PNG with a comment of 300 MB, packed."""
    content = encode(np.zeros((8, 8, 3), np.uint8), "PNG")
    packed = zlib.compress(bytes(300_000_000), 9)
    return content[:33] + chunk(b"zTXt", b"note\0\0" + packed) + content[33:]


def pixel_bomb() -> bytes:
    """A PNG that says 8 x 8 pixels, and unpacks into 300 MB."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(300_000_000), 9))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def many_frames() -> bytes:
    """A GIF of 3,000 frames."""
    content = io.BytesIO()
    frames = [Image.new("L", (4, 4), number % 250) for number in range(3000)]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    return content.getvalue()


def tiff_circle() -> bytes:
    """A TIFF whose list of pages leads back to itself."""
    content = bytearray(encode(np.zeros((8, 8), np.uint8), "TIFF"))
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    content[start + 2 + 12 * count : start + 6 + 12 * count] = struct.pack("<I", start)
    return bytes(content)


def tiff_of_many_bytes() -> bytes:
    """A TIFF that says that its only strip has 4 GB."""
    content = encode(np.zeros((8, 8), np.uint8), "TIFF")
    return content.replace(struct.pack("<HHII", 279, 4, 1, 64), struct.pack("<HHII", 279, 4, 1, 0xFFFFFFFF))


def huge_jpeg() -> bytes:
    """A JPEG whose header says 65,500 x 65,500 pixels."""
    content = bytearray(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def zip_bomb() -> bytes:
    """An archive of 300 MB in 300 kB."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(300_000_000))
    return content.getvalue()


def make_pipe(folder: Path) -> list[str]:
    os.mkfifo(folder / "pipe.jpg")
    return ["predict", str(write_model(folder / "model")), str(folder / "pipe.jpg")]


def make_endless_photo(folder: Path) -> list[str]:
    (folder / "endless.jpg").symlink_to("/dev/zero")
    return ["predict", str(write_model(folder / "model")), str(folder / "endless.jpg")]


def make_circle_of_links(folder: Path) -> list[str]:
    (folder / "a").mkdir()
    (folder / "a" / "b").symlink_to(folder / "a")
    return ["predict", str(write_model(folder / "model")), str(folder / "a")]


def make_names_with_orders(folder: Path) -> list[str]:
    """Names that would move a terminal's cursor or begin a line of their own."""
    write_photo(folder / "photos" / "\x1b[2J\nmge: error: \u202egnp.png", (9, 9, 9))
    (folder / "photos" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"no photo")
    return ["predict", str(write_model(folder / "model")), str(folder / "photos")]


PHOTOS: dict[str, Make] = {
    "a photo with a comment of 300 MB": photo(text_bomb, "trap.png"),
    "a photo that unpacks into 300 MB": photo(pixel_bomb, "trap.png"),
    "a GIF of 3,000 frames": photo(many_frames, "trap.gif"),
    "a TIFF that leads back to itself": photo(tiff_circle, "trap.tif"),
    "a TIFF with a strip of 4 GB": photo(tiff_of_many_bytes, "trap.tif"),
    "a JPEG of 65,500 x 65,500 pixels": photo(huge_jpeg),
    "an archive called a photo": photo(zip_bomb),
    "a web page called a photo": photo(lambda: b"<html><script>alert(1)</script></html>"),
    "a program called a photo": photo(lambda: b"\x7fELF" + bytes(2000)),
    "a picture in vectors with a document type": photo(lambda: b'<!DOCTYPE s [<!ENTITY a "b">]><svg>&a;</svg>'),
    "a Photoshop file": photo(lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(99)),
    "noise": photo(lambda: np.random.default_rng(0).bytes(20_000)),
    "noise after a JPEG's first bytes": photo(lambda: b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(20_000)),
    "an empty photo": photo(lambda: b""),
    "a PNG without pixels": photo(lambda: png(np.zeros((1, 1), np.uint8), color=0, bits=8, size=(0, 0)), "trap.png"),
    "20000 x 1 pixels": odd("20000 x 1 pixels"),
    "1 x 20000 pixels": odd("1 x 20000 pixels"),
    "a PNG of 900 million pixels": odd("a PNG of 900 million pixels"),
    "a PNG of 100 million pixels": odd("a PNG of 100 million pixels"),
    "a GIF of 100 million pixels": odd("a GIF of 100 million pixels"),
    "a JPEG that paints its pixels a thousand times": odd("a JPEG that paints its pixels a thousand times"),
    "half a JPEG": odd("half a JPEG"),
    "a pipe called a photo": make_pipe,
    "a photo without end": make_endless_photo,
    "a circle of links": make_circle_of_links,
    "names of photos with orders to the terminal": make_names_with_orders,
    **{name: photo(make, file) for name, (file, make) in COSTLY.items()},
}


# Manifests, and other lists of photos


def manifest(text: str | bytes, name: str = "photos.csv") -> Make:
    """A manifest beside two good photos, to train on."""

    def make(folder: Path) -> list[str]:
        for letter, color in (("a", (200, 0, 0)), ("b", (0, 200, 0))):
            write_photo(folder / f"{letter}.png", color)
        content = text if isinstance(text, bytes) else text.encode()
        (folder / name).write_bytes(content.replace(b"FOLDER", str(folder).encode()))
        return ["train", str(folder / name), *TINY, "--out", str(folder / "run")]

    return make


def make_manifest_of_pipes(folder: Path) -> list[str]:
    os.mkfifo(folder / "pipe.png")
    return manifest("path,label\npipe.png,a\nb.png,b\n")(folder)


def make_table(folder: Path) -> list[str]:
    (folder / "train.parquet").write_bytes(b"PAR1" + np.random.default_rng(0).bytes(2000) + b"PAR1")
    return ["train", str(folder / "train.parquet"), *TINY, "--out", str(folder / "run")]


def make_birds_that_lead_out(folder: Path) -> list[str]:
    lines = {"classes": "1 bird", "images": "1 ../../../../etc/passwd", "image_class_labels": "1 1",
             "train_test_split": "1 1", "bounding_boxes": "1 0 0 9 9"}  # fmt: skip
    (folder / "birds" / "images").mkdir(parents=True)
    for name, line in lines.items():
        (folder / "birds" / f"{name}.txt").write_text(line + "\n")
    return ["train", str(folder / "birds"), *TINY, "--out", str(folder / "run")]


def coco(text: str) -> Make:
    """iNaturalist's JSON."""

    def make(folder: Path) -> list[str]:
        (folder / "nature").mkdir()
        for split in ("train", "val"):
            (folder / "nature" / f"{split}2021.json").write_text(text)
        return ["train", str(folder / "nature"), *TINY, "--out", str(folder / "run")]

    return make


DEEP = 100_000
LISTS: dict[str, Make] = {
    "an empty manifest": manifest(""),
    "a manifest of zeros": manifest(bytes(5000)),
    "a manifest in UTF-16": manifest("path,label\na.png,a\n".encode("utf-16")),
    "a manifest of noise": manifest(np.random.default_rng(0).bytes(5000)),
    "a manifest whose path has a zero byte": manifest(b"path,label\na\0.png,a\nb.png,b\n"),
    "a manifest whose path is a megabyte": manifest("path,label\n" + "x" * 1_000_000 + ",a\nb.png,b\n"),
    "a manifest whose path has many folders": manifest("path,label\n" + "x/" * 5_000 + ",a\nb.png,b\n"),
    "a manifest whose label is a megabyte": manifest("path,label\na.png," + "x" * 1_000_000 + "\nb.png,b\n"),
    "a manifest with a quote that never ends": manifest('path,label\n"a.png,a\n' + "b.png,b\n" * 50_000),
    "a manifest that names /dev/zero": manifest("path,label\n/dev/zero,a\nb.png,b\n"),
    "a manifest that names the list of passwords": manifest("path,label\n/etc/passwd,a\n../../../../etc/passwd,b\n"),
    "a manifest that names a folder": manifest("path,label\nFOLDER,a\nb.png,b\n"),
    "a manifest that names a pipe": make_manifest_of_pipes,
    "a manifest with a box that is no number": manifest("path,label,x1,y1,x2,y2\na.png,a,nan,0,9,9\nb.png,b,,,,\n"),
    "a manifest with a box without end": manifest("path,label,x1,y1,x2,y2\na.png,a,0,0,inf,9\nb.png,b,,,,\n"),
    "a manifest with two columns of one name": manifest("path,path,label\na.png,b.png,a\nb.png,b.png,b\n"),
    "a manifest with an unknown split": manifest("path,label,split\na.png,a,../train\nb.png,b,train\n"),
    "JSON lines that are nested deeply": manifest('{"path": ' + "[" * DEEP, "photos.jsonl"),
    "JSON lines with a number of 5,000 digits": manifest('{"path": "a.png", "label": ' + "9" * 5000 + "}", "p.jsonl"),
    "JSON lines with an object for a path": manifest('{"path": {"a": 1}, "label": "a"}\n', "photos.jsonl"),
    "JSON lines with half a letter": manifest('{"path": "\\ud800.png", "label": "a"}\n', "photos.jsonl"),
    "JSON lines with half a letter for a label": manifest('{"path": "a.png", "label": "\\ud800"}\n', "photos.jsonl"),
    "a Parquet file of noise": make_table,
    "an archive that leads out of its folder": make_birds_that_lead_out,
    "iNaturalist's JSON, nested deeply": coco('{"images": ' + "[" * DEEP),
    "iNaturalist's JSON, of other things": coco('{"images": {"a": 1}, "annotations": 3, "categories": "x"}'),
    "iNaturalist's JSON that leads out of its folder": coco(json.dumps({
        "images": [{"id": 1, "file_name": "../../../../etc/passwd"}],
        "annotations": [{"image_id": 1, "category_id": 1}], "categories": [{"id": 1, "name": "a"}],
    })),
}  # fmt: skip


# Configurations


def config(text: str | bytes) -> Make:
    """A configuration file for a training."""

    def make(folder: Path) -> list[str]:
        content = text if isinstance(text, bytes) else text.encode()
        (folder / "trap.yaml").write_bytes(content)
        photos = write_class_folders(folder / "photos", per_class=2)
        arguments = ["--backbone", "test_resnet", "--no-pretrained", "--accelerator", "cpu"]
        return ["train", str(photos), *arguments, "--config", str(folder / "trap.yaml"), "--out", str(folder / "run")]

    return make


def make_endless_config(folder: Path) -> list[str]:
    make = config("")(folder)
    return [*make[:-4], "--config", "/dev/zero", *make[-2:]]


def laughs() -> str:
    """A billion laughs: nine lists of nine aliases each."""
    lines = ["a0: &a0 [ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join([*lines, "data: *a9"])


CONFIGS: dict[str, Make] = {
    "a configuration of a billion laughs": config(laughs()),
    "a configuration that is nested deeply": config("data: " + "[" * (DEEP // 10)),
    "a configuration that runs code": config("epochs: !!python/object/apply:os.system ['touch /tmp/hacked']"),
    "a configuration in UTF-16": config("epochs: 1".encode("utf-16")),
    "a configuration of zeros": config(bytes(1000)),
    "a configuration that is a list": config("- epochs\n- 1\n"),
    "a configuration without end": make_endless_config,
    "a number of 5,000 digits": config("epochs: " + "9" * 5000),
    "an infinite learning rate": config("head_lr: .inf\n"),
    "a learning rate that is no number": config("head_lr: nan\n"),
    "views of a billion pixels": config("size: 1000000000\nepochs: 1\n"),
    "a million experts": config("experts: 1000000\nsize: 64\nepochs: 1\n"),
    "a million part filters a class": config("part_filters: 1000000\nsize: 64\nepochs: 1\n"),
    "a batch of ten to the twelfth": config("batch_size: 1000000000000\nsize: 64\nepochs: 1\nexperts: 1\n"),
    "an output folder that leads into a file": config("out: /etc/passwd/run\nsize: 64\nepochs: 1\nexperts: 1\n"),
}


# Runs and their checkpoints


def run(break_it: Callable[[Path], object]) -> Make:
    """A run that is to be gone on with, after something was done to it."""

    def make(folder: Path) -> list[str]:
        photos = write_class_folders(folder / "photos", per_class=4)
        home = folder / "run"
        home.mkdir()
        settings = {"data": str(photos), "format": "auto", "preset": "default"} | {
            "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 2, "part_filters": 2, "epochs": 1,
            "batch_size": 4, "accelerator": "cpu", "schedule": "joint", "measure_offset": False, "workers": 0,
        }  # fmt: skip
        (home / "config.yaml").write_text(yaml.safe_dump(settings))
        break_it(home)
        return ["train", "--resume", str(home)]

    return make


def checkpoint(content: bytes | None = None, **state: Any) -> Make:  # noqa: ANN401
    """A checkpoint with the right checksum."""

    def break_it(home: Path) -> None:
        file = home / "checkpoints" / "last.ckpt"
        file.parent.mkdir()
        if content is None:
            save_checkpoint(file, state)
        else:
            file.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            file.with_name("last.ckpt.sha256").write_text(f"{digest}  last.ckpt\n")

    return run(break_it)


class Gadget:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/hacked",)


POSITION = {
    "stage": 0,
    "epoch": 0,
    "batch": 0,
    "best_score": (-1.0, -1.0),
    "tally": {"num_photos": 0, "losses": [], "hits": [], "diversity": [], "seconds": 0.0, "data_seconds": 0.0},
}
RUNS: dict[str, Make] = {
    "an empty checkpoint": checkpoint(b""),
    "a checkpoint of noise": checkpoint(np.random.default_rng(0).bytes(10_000)),
    "a checkpoint that is an archive of zeros": checkpoint(zip_bomb()),
    "a checkpoint that runs code": checkpoint(model=Gadget()),
    "a checkpoint of nothing": checkpoint(),
    "a checkpoint of another network": checkpoint(
        position=POSITION, model={"weight": torch.zeros(3)}, optimizer={}, averaged=None
    ),
    "a checkpoint whose position is text": checkpoint(position="here", model={}, optimizer={}, averaged=None),
    "a checkpoint far behind the end": checkpoint(
        position={**POSITION, "stage": -5, "epoch": 10**9}, model={}, optimizer={}, averaged=None
    ),
    "a checkpoint that is a folder": run(lambda home: (home / "checkpoints" / "last.ckpt").mkdir(parents=True)),
    "a run without settings": run(lambda home: (home / "config.yaml").write_text("{}")),
    "a run whose settings are text": run(lambda home: (home / "config.yaml").write_text("experts: [1, 2]\ndata: 3")),
    "a run whose settings are nested deeply": run(
        lambda home: (home / "config.yaml").write_text("a: " + "[" * (DEEP // 10))
    ),
    "a run whose list of broken photos is another": run(lambda home: (home / "skipped.json").write_text('[{"a": 1}]')),
    "a run whose origin is empty": run(lambda home: (home / "origin.json").write_text("{}")),
    "a run whose metrics are noise": run(
        lambda home: (home / "metrics.csv").write_bytes(np.random.default_rng(0).bytes(999))
    ),
    "a run whose summary is nested deeply": run(lambda home: (home / "summary.json").write_text("[" * DEEP)),
}  # fmt: skip


# Model folders


def model(break_it: Callable[[Path], object]) -> Make:
    """A model folder that something was done to, asked about a good photo."""

    def make(folder: Path) -> list[str]:
        home = write_model(folder / "model")
        break_it(home)
        write_photo(folder / "good.png", (200, 0, 0))
        return ["predict", str(home), str(folder / "good.png")]

    return make


def architecture(**changes: Any) -> Make:  # noqa: ANN401
    """A model folder that says it has another architecture."""
    return model(lambda home: lie(home, architecture={**CONFIG.to_dict(), **changes}))


def weights(content: Callable[[bytes], bytes]) -> Make:
    """A model folder with other weights."""

    def break_it(home: Path) -> None:
        file = home / "model.safetensors"
        file.write_bytes(content(file.read_bytes()))
        lie(home)

    return model(break_it)


def header(text: str) -> bytes:
    """The head of a safetensors file."""
    return struct.pack("<Q", len(text)) + text.encode()


def link_weights(home: Path) -> None:
    (home / "model.safetensors").unlink()
    (home / "model.safetensors").symlink_to("/dev/zero")


MODELS: dict[str, Make] = {
    "a model of a million experts": architecture(experts=1_000_000),
    "a model with views of a billion pixels": architecture(size=1_000_000_000),
    "a model with a million part filters a class": architecture(part_filters=1_000_000),
    "a model with a large backbone in its place": architecture(backbone="convnextv2_huge"),
    "a model whose backbone is a path": architecture(backbone="../../etc/passwd"),
    "a model whose backbone is on the Hub": architecture(backbone="hf_hub:nobody/trap"),
    "a model whose size is text": architecture(size="64"),
    "a model with three million classes": model(lambda home: lie(home, class_names=[str(n) for n in range(3 * 10**6)])),
    "a model whose classes are numbers": model(lambda home: lie(home, class_names=[1, 2, 3])),
    "a model whose photos are prepared in an unknown way": model(lambda home: lie(home, preprocessing={"crop": 1})),
    "a model whose preparation is text": model(lambda home: lie(home, preprocessing="short")),
    "a model whose cascade is text": model(lambda home: lie(home, cascade="x")),
    "a model whose leads are text": model(lambda home: lie(home, cascade={"leads": "x"})),
    "weights whose head is longer than the file": weights(lambda _: struct.pack("<Q", 2**63) + b"{}"),
    "weights whose tensors lie over each other": weights(
        lambda _: header(json.dumps({n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}))
        + bytes(16)
    ),
    "weights of a tensor of a terabyte": weights(
        lambda _: header('{"a": {"dtype": "F32", "shape": [274877906944], "data_offsets": [0, 1099511627776]}}')
    ),
    "weights that are no numbers": weights(lambda whole: whole[:-900_000] + b"\xff" * 900_000),
    "weights that are an archive": weights(lambda _: zip_bomb()),
    "weights without end": model(link_weights),
    "a description that is nested deeply": model(lambda home: (home / "model.json").write_text("[" * DEEP)),
}  # fmt: skip

CASES: dict[str, Make] = {**PHOTOS, **LISTS, **CONFIGS, **RUNS, **MODELS}
