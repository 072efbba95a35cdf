"""What `mge export` writes: the whole mixture as one graph, with what another program has to know beside it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mge import examples
from mge.data.views import Pixels
from mge.errors import MissingExtraError
from mge.models.cascade_graphs import cascade_parts
from mge.models.export import OUTPUTS, to_graph, to_onnx, trace, write_openvino, write_torch_export
from mge.models.fast import quiet
from mge.models.mixture import MixtureOfExperts
from mge.onnx_cascade import OnnxCascade
from mge.onnx_classifier import open_session
from mge.parity import Graph, Parity, check_parity, measure_parity
from mge.prediction import Array
from mge.storage.checksum import seal
from mge.storage.exported import DESCRIPTION, INPUT, KEY, Description, Format, as_metadata
from mge.storage.files import write_folder_atomically
from mge.storage.model_folder import StoredModel

FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2", "openvino": "model.xml"}
EXAMPLE = Path(examples.__file__).parent / "classify.py"
CASCADE_EXAMPLE = Path(examples.__file__).parent / "classify_by_cascade.py"


def describe(stored: StoredModel, *, graph: str = "mixture", outputs: dict[str, str] | None = None) -> Description:
    """What a graph of a stored model says about itself."""
    config = stored.config
    return Description(graph, config, stored.class_names, config.photo_side, outputs or OUTPUTS, stored.metadata)


def export_mixture(
    model: MixtureOfExperts,
    description: Description,
    folder: Path,
    *,
    images: Pixels,
    format: Format = "onnx",  # noqa: A002
) -> Parity:
    """Writes the folder of an export, if the graph answers as the model does: whole, or not at all.

    Args:
        model: In evaluation mode, on the CPU.
        description: From `describe`.
        folder: An export that is there already is replaced.
        images: Photos that both are asked about, as `measure_parity` takes them.
        format: Which runtime reads it.

    Returns:
        How well the graph agrees with the model.

    Raises:
        ExportError: it does not; nothing is written.
        ConfigError: the network cannot be exported.
        MissingExtraError: what the format is written with is not installed.
        StorageError: the disk is full, or the folder cannot be written to.
    """
    return _write_proven(
        folder, lambda unfinished: open_mixture(write_mixture(model, description, unfinished, format=format)), model,
        images=images, temperature=description.temperature, name=FILES[format],
    )  # fmt: skip


def export_cascade(model: MixtureOfExperts, stored: StoredModel, folder: Path, *, images: Pixels) -> Parity:
    """Writes one graph an expert and one for the gate, if together they answer as the model does, or nothing.

    Args:
        model: In evaluation mode, on the CPU.
        stored: The same model as it is stored.
        folder: An export that is there already is replaced.
        images: Photos that both are asked about.

    Returns:
        How well the graphs agree with the model where every expert looks.

    Raises:
        ExportError, ConfigError, MissingExtraError, StorageError: as `export_mixture`.
    """
    return _write_proven(
        folder, lambda unfinished: write_cascade(model, stored, unfinished).run, model, images=images,
        temperature=describe(stored).temperature, name="cascade",
    )  # fmt: skip


def _write_proven(
    folder: Path, write: Callable[[Path], Graph], model: MixtureOfExperts, *, images: Pixels, temperature: float,
    name: str,
) -> Parity:  # fmt: skip
    """Lets `write` fill a folder, which comes to be if what it wrote answers as the model does."""

    def fill(unfinished: Path) -> Parity:
        parity = measure_parity(write(unfinished), model, images, temperature=temperature)
        check_parity(parity, name=name)
        return parity

    return write_folder_atomically(folder, fill)


def write_mixture(
    model: MixtureOfExperts,
    description: Description,
    folder: Path,
    *,
    format: Format = "onnx",  # noqa: A002
) -> Path:
    """Writes the whole mixture as one graph, and beside it `preprocessing.json` and, for ONNX, an example program.

    Args:
        model: In evaluation mode, on the CPU.
        description: From `describe`.
        folder: Where the files go; it exists.
        format: Which runtime reads it.

    Returns:
        The graph's file.

    Raises:
        ConfigError: the network cannot be exported.
        MissingExtraError: what the format is written with is not installed.
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
    """Writes one graph an expert and one for the gate, and beside them `preprocessing.json` and an example program.

    Args:
        model: In evaluation mode, on the CPU.
        stored: The same model as it is stored.
        folder: Where the files go; it exists.

    Returns:
        What was written, to be asked.

    Raises:
        ConfigError: the network cannot be exported.
        MissingExtraError: what the format is written with is not installed.
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
    """Writes `preprocessing.json`."""
    text = json.dumps(description.to_dict(), indent=1, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def open_mixture(file: Path, *, threads: int | None = None) -> Graph:
    """What runs a graph that `write_mixture` wrote: uint8 pictures (B, 3, side, side) to its outputs by name.

    Load only what was exported here: a .pt2 file is read by torch, which trusts it.
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
            "OpenVINO's files are run by openvino, which is not installed; get it with: pip install 'mge[openvino]'"
        ) from error
    options = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    compiled = openvino.Core().compile_model(file, "CPU", options)

    def run(images: Pixels) -> dict[str, Array]:
        outputs = compiled(images)
        return {name: np.array(outputs[name]) for name in OUTPUTS}

    return run
