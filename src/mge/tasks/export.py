"""`mge export`: a trained mixture as one file that runs anywhere."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, get_args

from mge.config import check_choice
from mge.errors import ConfigError, DataError, StorageError
from mge.storage.exported import DESCRIPTION, Format
from mge.storage.hub import check_place
from mge.storage.output import EXPORTED, check_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mge.classifier import Classifier
    from mge.data.views import Pixels
    from mge.prediction import Photo

NUM_CHECKED = 32  # photos that graph and model are both asked about


def export(
    run: str | Path,
    *,
    format: Format = "onnx",  # noqa: A002  (the flag's name)
    out: str | Path | None = None,
    photos: str | Path | None = None,
    cascade: bool = False,
) -> Path:
    """Writes a mixture as one graph that runs without MGE, and checks that it answers as the model does.

    Photos go in as uint8 pictures; normalisation, experts, boxes, zooms and gate are inside.

    Examples:
        mge export runs/birds
        mge export runs/birds --format openvino --out birds-openvino

    Args:
        run: A run folder, a model folder, or hf:owner/name.
        format: `onnx`, for ONNX Runtime and `mge predict`; `torch-export`, for torch.export.load; or `openvino`.
        out: Folder to write. By default `export/FORMAT` in the run or model folder, `export/onnx-cascade` of a cascade.
        photos: Photos that graph and model are both asked about: a file, a folder, or a pattern. By default some of
            the run's own test photos, and drawn beetles where these are not to be had.
        cascade: Whether to write one graph an expert instead, and one for the gate, so that later experts can be left
            out where the first are sure. `onnx` only.

    Returns:
        The graph's file; of a cascade its folder.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ExportError: the graph does not answer as the model does; nothing is written.
        ConfigError: an option has a value that it cannot take, or the network cannot be exported.
        MissingExtraError: what the format is written with is not installed.
    """
    check_choice("format", format, get_args(Format))
    if cascade and format != "onnx":
        raise ConfigError(f"cascade is set and format is {format!r}; a cascade is exported as onnx")
    check_place(run, out, flag="--out")
    kind = "onnx-cascade" if cascade else format
    folder = Path(run) / "export" / kind if out is None else Path(out)
    folder = _check_out(folder)
    from mge.classifier import Classifier  # noqa: PLC0415
    from mge.exporting import FILES, describe, export_cascade, export_mixture  # noqa: PLC0415
    from mge.storage.model_folder import load_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415

    stored = load_model(find_model_folder(run))
    classifier = Classifier.from_stored(stored)
    images, source = _choose_photos(run, photos, classifier)
    _say(f"exporting, and asking graph and model about {len(images)} {source} ...")
    if cascade:
        parity = export_cascade(classifier.model, stored, folder, images=images)
        file, files = folder, list(folder.glob("*.onnx"))
    else:
        parity = export_mixture(classifier.model, describe(stored), folder, images=images, format=format)
        file = folder / FILES[format]
        files = list(folder.glob(f"{file.stem}.*"))
    size = sum(each.stat().st_size for each in files) / 1e6
    sys.stdout.write(f"Written: {file} ({size:.1f} MB)\nIt answers as the model does: {parity}\n")
    sys.stdout.write(f"Next: {_next(file)}\n")
    return file


def _next(file: Path) -> str:
    if file.is_dir():
        program = quote(str(file / "classify_by_cascade.py"))
        return f"mge predict {quote(str(file))} photo.jpg --cascade, or without MGE: python {program} photo.jpg"
    if file.suffix == ".onnx":
        program = quote(str(file.parent / "classify.py"))
        return f"mge predict {quote(str(file))} photo.jpg, or without MGE: python {program} photo.jpg"
    return f"{file.parent / DESCRIPTION} says what the graph takes and gives"


def _check_out(folder: Path) -> Path:
    """Return where the export is written; raises where that holds something that an export must not replace."""
    if folder.suffix in (".onnx", ".pt2", ".xml"):
        raise ConfigError(
            f"out is {str(folder)!r}, which reads as a file; give a folder: the graph is not written alone"
        )
    place = check_folder(folder, flag="out")
    there = [path.name for path in place.iterdir()] if place.exists() else []
    others = [name for name in there if DESCRIPTION not in there or not any(fnmatch(name, part) for part in EXPORTED)]
    if others:
        raise StorageError(f"{folder} has {others[0]!r} in it, which is no export; give another folder, or empty it")
    return place


def _choose_photos(run: str | Path, photos: str | Path | None, classifier: Classifier) -> tuple[Pixels, str]:
    """The photos that graph and model are asked about, prepared, and what they are in words.

    Raises:
        DataError: photos were given, and none can be read.
    """
    if photos is not None:
        from mge.data.records import spread_out  # noqa: PLC0415
        from mge.data.sources import find_photos  # noqa: PLC0415

        images = _prepare(spread_out(find_photos([str(photos)]), count=NUM_CHECKED), classifier)
        if images is None:
            raise DataError(f"none of the photos {str(photos)!r} can be read; give others, or leave out --photos")
        return images, f"photos of {photos}"
    try:
        name, content = _own_photos(Path(run), classifier)
        images = _prepare(content, classifier)
        if images is not None:
            return images, f"photos of {name}"
    except ConfigError:
        _say("Note: a model without its run does not know its photos")
    except DataError as error:
        _say(f"Note: the run's photos are not to be had: {error}")
    from mge.data.beetles import BEETLE_CLASSES, draw_beetle  # noqa: PLC0415

    drawn = [draw_beetle(number % len(BEETLE_CLASSES), seed=number).image for number in range(NUM_CHECKED)]
    images = _prepare(drawn, classifier)
    assert images is not None
    return images, "drawn beetles (photos of yours say more: --photos FOLDER)"


def _own_photos(run: Path, classifier: Classifier) -> tuple[str, list[Photo]]:
    """The name of the run's data, and some of its test photos.

    Raises:
        ConfigError: the model has no run.
        DataError: its data are not there any more.
    """
    from mge.data.records import spread_out  # noqa: PLC0415
    from mge.training.selection import read_held_out  # noqa: PLC0415

    found = read_held_out(run, data=None, source_format="auto", classifier=classifier)
    records = found.split("test") or found.split("val") or found.records
    return found.name, [record.content for record in spread_out(records, count=NUM_CHECKED)]


def _prepare(photos: Iterable[Photo], classifier: Classifier) -> Pixels | None:
    """Photos as graph and model take them, without those that cannot be read; None where none is left."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    prepared = []
    for photo in photos:
        try:
            prepared.append(classifier.prepare(photo).image)
        except DataError:
            continue
    return np.asarray(torch.stack(prepared)) if prepared else None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
