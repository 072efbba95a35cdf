"""`mge export`: a trained mixture as one file that runs without MGE."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal, get_args

from mge.config import check_choice, check_range
from mge.errors import ConfigError, DataError, StorageError
from mge.storage.export_description import DESCRIPTION, Format
from mge.storage.files import list_names
from mge.storage.hub import check_place
from mge.storage.output import EXPORTED, check_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mge.data.preprocess import Pixels
    from mge.inference.classifier import Classifier
    from mge.inference.prediction import Photo

ExportFormat = Literal[Format, "timm"]
NUM_CHECKED = 32  # photos that graph and model are both asked about


def export(
    run: str | Path,
    *,
    format: ExportFormat = "onnx",  # noqa: A002  (the flag's name)
    out: str | Path | None = None,
    photos: str | Path | None = None,
    cascade: bool = False,
    tolerance: float = 1e-2,
) -> Path:
    """Export a mixture as one graph (ONNX, torch.export, OpenVINO), or its networks for timm, and verify the outputs.

    The graph takes uint8 images; normalization, experts, boxes, zooms and gate are inside.

    Examples:
        mge export runs/birds
        mge export runs/birds --format openvino --out birds-openvino

    Args:
        run: Run folder, model folder, or hf:owner/name.
        format: `onnx` (ONNX Runtime, `mge predict`), `torch-export` (torch.export.load), `openvino`, or `timm`:
            folders for timm.create_model with backbone and global head of each expert, without boxes, zooms and gate.
        out: Folder to write. Default: `export/FORMAT` in the run or model folder; `export/onnx-cascade` with `cascade`.
        photos: Photos for the verification: a file, a folder, or a pattern. Default: test photos of the run, or drawn
            beetles if those are not available.
        cascade: Export one graph per expert and one for the gate, so that ONNX Runtime can exit early. `onnx` only.
        tolerance: Largest accepted difference between the probabilities of graph and model, on any photo. A photo may
            change its predicted class only if the two classes are closer than that. Above 1e-4 there is a warning.

    Returns:
        The graph's file; with `cascade` and for timm its folder.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ExportError: the outputs of graph and model differ by more than the tolerance; nothing is written.
        ConfigError: an option has an invalid value, or the network cannot be exported.
        MissingExtraError: the packages for this format are not installed.
    """
    check_choice("format", format, get_args(ExportFormat))
    if cascade and format != "onnx":
        raise ConfigError(f"cascade is set and format is {format!r}; accepted with cascade: onnx")
    if format == "timm" and photos is not None:
        raise ConfigError("photos is set and format is 'timm', whose networks are verified on noise; leave out photos")
    tolerance = check_range("tolerance", tolerance, at_least=0, at_most=1)
    check_place(run, out, flag="--out")
    kind = "onnx-cascade" if cascade else format
    folder = Path(run) / "export" / kind if out is None else Path(out)
    folder = _check_out(folder)
    from mge.exporting.artifacts import FILES, RUNTIMES, describe, export_cascade, export_mixture  # noqa: PLC0415
    from mge.inference.classifier import Classifier  # noqa: PLC0415
    from mge.storage.model_folder import load_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415

    stored = load_model(find_model_folder(run))
    classifier = Classifier.from_stored(stored)
    if format == "timm":
        return _write_timm(classifier, folder)
    images, source = _choose_photos(run, photos, classifier)
    _say(f"Exporting and verifying on {len(images)} {source} ...")
    if cascade:
        parity = export_cascade(classifier.model, stored, folder, images=images, tolerance=tolerance)
        file, files = folder, list(folder.glob("*.onnx"))
    else:
        parity = export_mixture(
            classifier.model, describe(stored), folder, images=images, format=format, tolerance=tolerance
        )
        file = folder / FILES[format]
        files = list(folder.glob(f"{file.stem}.*"))
    if not parity.is_same:
        _say(f"Warning: {parity.in_words(RUNTIMES[format])}")
    size = sum(each.stat().st_size for each in files) / 1e6
    sys.stdout.write(f"Written: {file} ({size:.1f} MB)\nVerified against the model: {parity}\n")
    sys.stdout.write(f"Next: {_next(file)}\n")
    return file


def _write_timm(classifier: Classifier, folder: Path) -> Path:
    """Write the networks for timm, and print how to load the first."""
    from mge.exporting.timm_networks import export_timm  # noqa: PLC0415

    name = export_timm(classifier, folder)
    weights = folder / "expert_0" / "model.safetensors"
    sys.stdout.write(
        f"Written: {folder}\nVerified: features and logits of timm's networks equal the experts'\nNext: "
        f"timm.create_model({name!r}, num_classes={len(classifier.class_names)}, checkpoint_path={str(weights)!r})\n"
    )
    return folder


def _next(file: Path) -> str:
    if file.is_dir():
        program = quote(str(file / "classify_by_cascade.py"))
        return f"mge predict {quote(str(file))} photo.jpg --cascade, or without MGE: python {program} photo.jpg"
    if file.suffix == ".onnx":
        program = quote(str(file.parent / "classify.py"))
        return f"mge predict {quote(str(file))} photo.jpg, or without MGE: python {program} photo.jpg"
    return f"inputs and outputs of the graph: {file.parent / DESCRIPTION}"


def _check_out(folder: Path) -> Path:
    """Return where the export is written; raises where that holds something that an export must not replace."""
    if folder.suffix in (".onnx", ".pt2", ".xml"):
        raise ConfigError(f"out is {str(folder)!r}, which looks like a file; give a folder: several files are written")
    place = check_folder(folder, flag="out")
    there = list_names(place) or []
    others = [name for name in there if DESCRIPTION not in there or not any(fnmatch(name, part) for part in EXPORTED)]
    if others:
        raise StorageError(
            f"{folder} contains {others[0]!r}, which is not part of an export; give another folder, or empty it"
        )
    return place


def _choose_photos(run: str | Path, photos: str | Path | None, classifier: Classifier) -> tuple[Pixels, str]:
    """Return the preprocessed photos for comparing graph and model, with a description.

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
        _say("Note: a model folder without its run has no test photos")
    except DataError as error:
        _say(f"Note: the run's photos are not available: {error}")
    from mge.data.drawn_beetles import BEETLE_CLASSES, draw_beetle  # noqa: PLC0415

    drawn = [draw_beetle(number % len(BEETLE_CLASSES), seed=number).image for number in range(NUM_CHECKED)]
    images = _prepare(drawn, classifier)
    assert images is not None
    return images, "drawn beetles (your own photos are a better test: --photos FOLDER)"


def _own_photos(run: Path, classifier: Classifier) -> tuple[str, list[Photo]]:
    """Return the name of the run's data, and some of its test photos.

    Raises:
        ConfigError: the model has no run.
        DataError: its data are not there any more.
    """
    from mge.data.records import spread_out  # noqa: PLC0415
    from mge.evaluation.select import read_held_out  # noqa: PLC0415

    found = read_held_out(run, data=None, source_format="auto", classifier=classifier)
    records = found.split("test") or found.split("val") or found.records
    return found.name, [record.content for record in spread_out(records, count=NUM_CHECKED)]


def _prepare(photos: Iterable[Photo], classifier: Classifier) -> Pixels | None:
    """Preprocess photos for graph and model, skipping unreadable ones; None if none is left."""
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
