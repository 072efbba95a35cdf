"""`mge export`: a trained mixture as one file that runs anywhere."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from mge.config import check_choice
from mge.errors import ConfigError, DataError, ModelFolderError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mge.classifier import Classifier
    from mge.data.views import Pixels
    from mge.prediction import Photo

Format = Literal["onnx", "torch-export", "openvino"]

Item = TypeVar("Item")

NUM_CHECKED = 32  # photos that graph and model are both asked about


def export(
    run: str | Path,
    *,
    format: Format = "onnx",  # noqa: A002  (the flag's name)
    out: str | Path | None = None,
    photos: str | Path | None = None,
) -> Path:
    """Writes a mixture as one graph that runs without MGE, and checks that it answers as the model does.

    Photos go in as uint8 pictures; normalisation, experts, boxes, zooms and gate are inside.

    Args:
        run: A run folder, a model folder, or hf:owner/name.
        format: `onnx`, for ONNX Runtime and `mge predict`; `torch-export`, for torch.export.load; or `openvino`.
        out: Folder to write. By default `export/FORMAT` in the run or model folder.
        photos: Photos that graph and model are both asked about: a file, a folder, or a pattern. By default some of
            the run's own test photos, and drawn beetles where these are not to be had.

    Returns:
        The graph's file.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ExportError: the graph does not answer as the model does; nothing is written.
        ConfigError: an option has a value that it cannot take, or the network cannot be exported.
        MissingExtraError: what the format is written with is not installed.
    """
    check_choice("format", format, get_args(Format))
    if out is None and str(run).startswith("hf:"):
        raise ConfigError(f"run is {str(run)!r}, which is no folder to write to; give an --out")
    folder = Path(run) / "export" / format if out is None else Path(out)
    _check_out(folder)
    from mge.classifier import Classifier  # noqa: PLC0415
    from mge.exporting import FILES, describe, export_mixture  # noqa: PLC0415
    from mge.storage.model_folder import load_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415

    stored = load_model(find_model_folder(run))
    classifier = Classifier.from_stored(stored)
    images, source = _choose_photos(run, photos, classifier)
    _say(f"exporting, and asking graph and model about {len(images)} {source} ...")
    parity = export_mixture(classifier.model, describe(stored), folder, images=images, format=format)
    file = folder / FILES[format]
    size = sum(each.stat().st_size for each in folder.glob(f"{file.stem}.*")) / 1e6
    sys.stdout.write(f"Written: {file} ({size:.1f} MB)\nIt answers as the model does: {parity}\n")
    sys.stdout.write(f"Next: {_next(file)}\n")
    return file


def _next(file: Path) -> str:
    if file.suffix == ".onnx":
        return f"mge predict {file} photo.jpg, or without MGE: python {file.parent / 'classify.py'} photo.jpg"
    return f"{file.parent / 'preprocessing.json'} says what the graph takes and gives"


def _check_out(folder: Path) -> None:
    """Raises where the folder holds something that an export must not replace."""
    if folder.suffix in (".onnx", ".pt2", ".xml"):
        raise ConfigError(
            f"out is {str(folder)!r}, which reads as a file; give a folder: the graph is not written alone"
        )
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "preprocessing.json").exists())
    ):
        raise StorageError(f"{folder} has something in it that is no export; give another folder, or empty it")


def _choose_photos(run: str | Path, photos: str | Path | None, classifier: Classifier) -> tuple[Pixels, str]:
    """The photos that graph and model are asked about, prepared, and what they are in words.

    Raises:
        DataError: photos were given, and none can be read.
    """
    if photos is not None:
        from mge.data.sources import find_photos  # noqa: PLC0415

        images = _prepare(_spread(find_photos([str(photos)])), classifier)
        if images is None:
            raise DataError(f"none of the photos {str(photos)!r} can be read; give others, or leave out --photos")
        return images, f"photos of {photos}"
    try:
        name, content = _own_photos(Path(run), classifier)
        images = _prepare(content, classifier)
        if images is not None:
            return images, f"photos of {name}"
    except (ModelFolderError, DataError) as error:  # a model without its run, or a run without its photos
        _say(f"Note: the model's own photos are not to be had: {error}")
    from mge.data.beetles import BEETLE_CLASSES, draw_beetle  # noqa: PLC0415

    drawn = [draw_beetle(number % len(BEETLE_CLASSES), seed=number).image for number in range(NUM_CHECKED)]
    images = _prepare(drawn, classifier)
    assert images is not None
    return images, "drawn beetles (photos of yours say more: --photos FOLDER)"


def _own_photos(run: Path, classifier: Classifier) -> tuple[str, list[Photo]]:
    """The name of the run's data, and some of its test photos.

    Raises:
        ModelFolderError: the model has no run.
        DataError: its data are not there any more.
    """
    from mge.data.sources import read_photos  # noqa: PLC0415
    from mge.storage.run_folder import open_run  # noqa: PLC0415

    settings = open_run(run).config()
    fractions = {name: settings[name] for name in ("val_fraction", "test_fraction")}
    config = dataclasses.replace(classifier.data, **fractions)
    found = read_photos(settings["data"], config=config, seed=settings["seed"], format=settings["format"])
    records = found.split("test") or found.split("val") or found.records
    return found.name, [record.content for record in _spread(records)]


def _spread(items: Sequence[Item]) -> list[Item]:
    """As many as are checked, evenly spread."""
    return list(items[:: max(1, len(items) // NUM_CHECKED)][:NUM_CHECKED])


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
