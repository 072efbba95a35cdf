"""Export of the whole mixture as one graph, with the description that other programs need beside it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mge.data.preprocess import Pixels
from mge.errors import MissingExtraError
from mge.exporting import examples
from mge.exporting.expert_graphs import cascade_parts
from mge.exporting.graph import OUTPUTS, to_graph, to_onnx, trace, write_openvino, write_torch_export
from mge.exporting.parity import TOLERANCE, Graph, Parity, check_parity, measure_parity
from mge.inference.compiled import quiet
from mge.inference.onnx_cascade import OnnxCascade
from mge.inference.onnx_classifier import open_session
from mge.inference.prediction import Array
from mge.models.mixture import MixtureOfExperts
from mge.storage.checksum import seal
from mge.storage.export_description import DESCRIPTION, INPUT, KEY, Description, Format, as_metadata
from mge.storage.files import write_folder_atomically
from mge.storage.model_folder import StoredModel

FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2", "openvino": "model.xml"}
RUNTIMES: dict[Format, str] = {"onnx": "ONNX", "torch-export": "torch.export", "openvino": "OpenVINO"}
EXAMPLE = Path(examples.__file__).parent / "classify.py"
CASCADE_EXAMPLE = Path(examples.__file__).parent / "classify_by_cascade.py"


def describe(stored: StoredModel, *, graph: str = "mixture", outputs: dict[str, str] | None = None) -> Description:
    """Describe a graph of a stored model."""
    config = stored.config
    return Description(graph, config, stored.class_names, config.photo_side, outputs or OUTPUTS, stored.metadata)


def export_mixture(
    model: MixtureOfExperts,
    description: Description,
    folder: Path,
    *,
    images: Pixels,
    format: Format = "onnx",  # noqa: A002
    tolerance: float = TOLERANCE,
) -> Parity:
    """Write the folder of an export atomically, if the graph's outputs equal the model's.

    Args:
        model: The mixture in evaluation mode, on the CPU.
        description: Description from `describe`.
        folder: Folder of the export; an existing export is replaced.
        images: Photos for the comparison, as `measure_parity` takes them.
        format: Format of the graph.
        tolerance: Largest accepted difference of probabilities, as `check_parity` takes it.

    Returns:
        Agreement of the graph with the model.

    Raises:
        ExportError: they differ by more; nothing is written.
        ConfigError: the network cannot be exported.
        MissingExtraError: the package that writes the format is not installed.
        StorageError: the disk is full, or the folder cannot be written to.
    """
    return _write_proven(
        folder, lambda unfinished: open_mixture(write_mixture(model, description, unfinished, format=format)), model,
        images=images, temperature=description.temperature, name=RUNTIMES[format], tolerance=tolerance,
    )  # fmt: skip


def export_cascade(
    model: MixtureOfExperts, stored: StoredModel, folder: Path, *, images: Pixels, tolerance: float = TOLERANCE
) -> Parity:
    """Write one graph per expert and one for the gate, if together they equal the model, or nothing.

    Args:
        model: The mixture in evaluation mode, on the CPU.
        stored: The same model as it is stored.
        folder: Folder of the export; an existing export is replaced.
        images: Photos for the comparison.
        tolerance: Largest accepted difference of probabilities, as `check_parity` takes it.

    Returns:
        Agreement of the graphs with the model when every expert runs.

    Raises:
        ExportError, ConfigError, MissingExtraError, StorageError: as `export_mixture`.
    """
    return _write_proven(
        folder, lambda unfinished: write_cascade(model, stored, unfinished).run, model, images=images,
        temperature=describe(stored).temperature, name=RUNTIMES["onnx"], tolerance=tolerance,
    )  # fmt: skip


def _write_proven(
    folder: Path, write: Callable[[Path], Graph], model: MixtureOfExperts, *, images: Pixels, temperature: float,
    name: str, tolerance: float,
) -> Parity:  # fmt: skip
    """Fill a folder with `write`, and keep it only if the graph's outputs equal the model's."""

    def fill(unfinished: Path) -> Parity:
        parity = measure_parity(write(unfinished), model, images, temperature=temperature)
        check_parity(parity, name=name, tolerance=tolerance)
        _record(unfinished, parity, tolerance=tolerance)
        return parity

    return write_folder_atomically(folder, fill)


def _record(folder: Path, parity: Parity, *, tolerance: float) -> None:
    """Add the measured differences to `preprocessing.json`."""
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    _write_json(described | {"verification": parity.to_dict() | {"tolerance": tolerance}}, folder)


def write_mixture(
    model: MixtureOfExperts,
    description: Description,
    folder: Path,
    *,
    format: Format = "onnx",  # noqa: A002
) -> Path:
    """Write the whole mixture as one graph, with `preprocessing.json` and, for ONNX, an example program beside it.

    Args:
        model: The mixture in evaluation mode, on the CPU.
        description: Description from `describe`.
        folder: Existing folder for the files.
        format: Format of the graph.

    Returns:
        The graph's file.

    Raises:
        ConfigError: the network cannot be exported.
        MissingExtraError: the package that writes the format is not installed.
    """
    assert model.config.photo_side == description.side
    graph = to_graph(model, temperature=description.temperature)
    file = folder / FILES[format]
    if format == "torch-export":
        write_torch_export(graph, file)
    else:
        content = to_onnx(
            graph, inputs=[INPUT], outputs=list(description.outputs), metadata={KEY: as_metadata(description)}
        )
        if format == "onnx":
            file.write_bytes(seal(content))
            shutil.copyfile(EXAMPLE, folder / EXAMPLE.name)
        else:
            write_openvino(content, file)
    write_description(description, folder)
    return file


def write_cascade(model: MixtureOfExperts, stored: StoredModel, folder: Path) -> OnnxCascade:
    """Write one graph per expert and one for the gate, with `preprocessing.json` and an example program beside them.

    Args:
        model: The mixture in evaluation mode, on the CPU.
        stored: The same model as it is stored.
        folder: Existing folder for the files.

    Returns:
        The written cascade, ready to run.

    Raises:
        ConfigError: the network cannot be exported.
        MissingExtraError: the package that writes the format is not installed.
    """
    for name, part in cascade_parts(model).items():
        description = describe(stored, graph=name, outputs=part.outputs)
        graph = trace(part.network, tuple(part.examples.values()))
        names = {"inputs": list(part.examples), "outputs": list(part.outputs)}
        content = to_onnx(graph, **names, metadata={KEY: as_metadata(description)})
        (folder / f"{name}.onnx").write_bytes(seal(content))
    write_description(describe(stored), folder)
    shutil.copyfile(CASCADE_EXAMPLE, folder / CASCADE_EXAMPLE.name)
    return OnnxCascade.load(folder)


def write_description(description: Description, folder: Path) -> None:
    """Write `preprocessing.json`."""
    _write_json(description.to_dict(), folder)


def _write_json(values: dict[str, Any], folder: Path) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def open_mixture(file: Path, *, threads: int | None = None) -> Graph:
    """Open a graph written by `write_mixture`, as a function from uint8 images (B, 3, side, side) to outputs by name.

    Load only graphs exported on this machine: a .pt2 file is read by torch, which trusts it.
    """
    if file.suffix == ".onnx":
        session = open_session(file.read_bytes(), name=str(file), threads=threads)
        return lambda images: dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images}), strict=True))
    if file.suffix == ".xml":
        return _open_openvino(file, threads=threads)
    with quiet():
        network = torch.export.load(file).module()

    def run(images: Pixels) -> dict[str, Array]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(images))
        return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}

    return run


def _open_openvino(file: Path, *, threads: int | None) -> Graph:
    try:
        import openvino  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            "OpenVINO models need openvino, which is not installed; install it with: pip install 'mge[openvino]'"
        ) from error
    options = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    compiled = openvino.Core().compile_model(file, "CPU", options)

    def run(images: Pixels) -> dict[str, Array]:
        outputs = compiled(images)
        return {name: np.array(outputs[name]) for name in OUTPUTS}

    return run
