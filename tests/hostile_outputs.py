"""Hostile containers, outputs and streams: cases of the same kind as in `hostile`."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet

from tests.hostile import NAMES, TINY, Make, lie, write_model
from tests.photos import write_class_folders, write_photo
from tests.tables import write_parquet
from tests.tars import TRAPS, whole


def archive(content: Callable[[], bytes], name: str = "trap.tar") -> Make:
    """A file with many photos that are to be classified."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content())
        return ["predict", str(write_model(folder / "model")), str(folder / name)]

    return make


def archive_in_an_archive() -> bytes:
    """A tar whose only member is a tar."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as outer:
        info = tarfile.TarInfo("inner.tar")
        info.size = 1024
        outer.addfile(info, io.BytesIO(whole()))
    return content.getvalue()


def table(write: Callable[[Path], object], *, verb: str = "predict") -> Make:
    """A Parquet file to classify, or to train on."""

    def make(folder: Path) -> list[str]:
        file = folder / "trap.parquet"
        write(file)
        if verb == "train":
            return ["train", str(file), *TINY, "--out", str(folder / "run")]
        return ["predict", str(write_model(folder / "model")), str(file)]

    return make


def write_nulls(file: Path) -> None:
    """Five million rows in 12 kB."""
    nothing = pyarrow.nulls(5_000_000, pyarrow.binary())
    labels = pyarrow.nulls(5_000_000, pyarrow.string())
    parquet.write_table(pyarrow.table({"image": nothing, "label": labels}), file)


def write_zeros(file: Path) -> None:
    """A photo of 300 MB in some kB."""
    parquet.write_table(pyarrow.table({"image": [bytes(300_000_000)]}), file, compression="zstd", use_dictionary=False)


def write_copies(file: Path) -> None:
    """Twelve photos of 100 MB, in one."""
    big = np.random.default_rng(0).bytes(1_000_000) + bytes(99_000_000)
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 12, pyarrow.int32()), [big])
    parquet.write_table(pyarrow.table({"image": column}), file, store_schema=False)


CONTAINERS: dict[str, Make] = {
    **{f"an archive: {name}": archive(make) for name, make in TRAPS.items()},
    "an archive in an archive": archive(archive_in_an_archive),
    "a compressed archive": archive(lambda: gzip.compress(bytes(300_000_000))),
    "an archive called a table": archive(whole, "trap.parquet"),
    "a table of five million rows of nothing": table(write_nulls),
    "a table of five million rows of nothing, to train on": table(write_nulls, verb="train"),
    "a table that unpacks into 300 MB": table(write_zeros),
    "a table of twelve photos of 100 MB in one": table(write_copies),
}


def output(name: str, prepare: Callable[[Path], object] = lambda folder: None, *more: str) -> Make:
    """Good photos, whose predictions go somewhere."""

    def make(folder: Path) -> list[str]:
        write_photo(folder / "good.png", (200, 0, 0))
        write_parquet(folder / "good.parquet", {"image": [(folder / "good.png").read_bytes()]})
        prepare(folder)
        place = name if name.startswith("/") else str(folder / name)
        given = str(folder / "good.parquet")
        return ["predict", str(write_model(folder / "model")), given, "--output", place, "--format", "csv", *more]

    return make


def hard_link(folder: Path) -> None:
    """Gives the input a second name."""
    (folder / "p").hardlink_to(folder / "good.parquet")


def stdout(prepare: Callable[[Path], object]) -> Make:
    """A good photo of a class with Cyrillic letters, whose prediction is printed."""

    def make(folder: Path) -> list[str]:
        prepare(folder)
        lie(write_model(folder / "model"), class_names=["\u0436\u0443\u043a", *NAMES[1:]])
        write_photo(folder / "good.png", (200, 0, 0))
        return ["predict", str(folder / "model"), str(folder / "good.png")]

    return make


def make_pictures_of_pictures(folder: Path) -> list[str]:
    photos = write_class_folders(folder / "photos", per_class=1)
    return ["explain", str(write_model(folder / "model")), str(photos), "--output", str(photos / "apple")]


def make_figures_on_a_photo(folder: Path) -> list[str]:
    photos = write_class_folders(folder / "photos", per_class=1)
    place = str(photos / "apple" / "0.png")
    return ["evaluate", str(write_model(folder / "model")), str(photos), "--no-report", "--out", place]


OUTPUTS: dict[str, Make] = {
    "an output that is the input": output("good.parquet"),
    "an output that is a link to the input": output("p", lambda home: (home / "p").symlink_to("good.parquet")),
    "an output that is a second name of the input": output("p", hard_link),
    "an output that is a folder": output("p", lambda home: (home / "p").mkdir()),
    "an output that is a link to itself": output("p", lambda home: (home / "p").symlink_to("p")),
    "an output that is the model": output("model/model.json"),
    "an output that is a full device": output("/dev/full"),
    "an output that is no device": output("/dev/null"),
    "an output that is a memory device": output("/dev/zero"),
    "an output in the kernel's own folder": output("/proc/p.csv"),
    "an output in a file": output("good.png/p.csv"),
    "an output whose name is too long": output("x" * 250),
    "an output that is standard output": output("/dev/stdout"),
    "pictures that would replace the photos": make_pictures_of_pictures,
    "figures that would replace a photo": make_figures_on_a_photo,
    "a full standard output": stdout(lambda home: (home / "stdout").symlink_to("/dev/full")),
    "a standard output that knows few letters": stdout(lambda home: (home / "encoding").write_text("ascii")),
}  # fmt: skip
