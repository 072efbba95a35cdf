"""Export of the whole mixture as one standalone graph: normalisation, experts, boxes, zooms and gate.

It takes uint8 images in batches of any size. `OUTPUTS` names its outputs.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from mge.core.outputs import MixtureOutput
from mge.errors import ConfigError, MissingExtraError, first_line
from mge.inference.compiled import AsTuple, quiet
from mge.models.mixture import MixtureOfExperts

OPSET = 18  # of ONNX; the oldest with all operations needed, for older runtimes
LARGEST_ONNX = 2_000_000_000  # bytes of weights; protobuf is limited to 2 GiB
EXAMPLES = 2  # example images; with one the exporter would treat the batch size as constant

# Outputs of the graph by name: B photos, E experts, C classes, h x w cells.
OUTPUTS = {
    "logits": "(B, C) logits of the mixture",
    "gate_probs": "(B, E) gate weight of each expert",
    "large_logits": "(B, E, C) logits of the global head of each expert",
    "part_logits": "(B, E, C) logits of the part head of each expert",
    "joint_logits": "(B, E, C) logits of the joint head of each expert",
    "attention": "(B, E, h, w) attention map of each expert over its own view, from 0 to 1",
    "boxes_xyxy": "(B, E, 4) view of each expert in pixels of the input images, end-exclusive",
    "probabilities": "(B, C) class probabilities as in `mge predict`: calibrated softmax of the logits",
}
assert tuple(OUTPUTS)[:-1] == MixtureOutput._fields


class WithProbabilities(nn.Module):
    """A mixture that also returns probabilities, in a plain tuple.

    Args:
        model: The mixture.
        temperature: Softmax temperature of its probabilities.
    """

    def __init__(self, model: MixtureOfExperts, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.answers = AsTuple(model)
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors that `OUTPUTS` names, in their order."""
        said = self.answers(images)
        return (*said, (said[0].float() / self.temperature).softmax(1))


def example_pictures(model: MixtureOfExperts) -> Tensor:
    """Return black example images of the mixture's input size."""
    side = model.config.photo_side
    return torch.zeros(EXAMPLES, 3, side, side, dtype=torch.uint8)


def to_graph(model: MixtureOfExperts, *, temperature: float = 1.0) -> torch.export.ExportedProgram:
    """Export the mixture with torch.export.

    Args:
        model: The mixture in evaluation mode, on the CPU.
        temperature: Softmax temperature of its probabilities.

    Raises:
        ConfigError: the network cannot be exported.
    """
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen.sampling = "matrices"  # ONNX Runtime samples a grid point by point: 4 to 7 times the time
    return trace(WithProbabilities(frozen, temperature=temperature), (example_pictures(model),))


def trace(network: nn.Module, examples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Export any network with inputs per photo (images and others) as a graph with a dynamic batch size.

    Raises:
        ConfigError: it cannot be exported.
    """
    batch = ({0: torch.export.Dim("batch", min=1)},) * len(examples)
    try:
        with torch.inference_mode(False), torch.no_grad(), quiet():
            return torch.export.export(network.eval(), examples, dynamic_shapes=batch)
    except RuntimeError as error:  # base class of torch's tracing errors
        raise ConfigError(f"the network cannot be exported: {first_line(error)}; try another backbone") from error


def to_onnx(
    graph: torch.export.ExportedProgram, *, inputs: list[str], outputs: list[str], metadata: dict[str, str]
) -> bytes:
    """Convert a graph to the content of an .onnx file, including its weights.

    Args:
        graph: Graph from `to_graph` or `trace`.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        metadata: Metadata of the file.

    Raises:
        ConfigError: it has an operation that ONNX does not support, or exceeds the size limit of ONNX files.
        MissingExtraError: the packages that write ONNX are not installed.
    """
    try:
        import onnx  # noqa: F401, PLC0415  (an extra)
        import onnxscript  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            f"writing ONNX needs {error.name}, which is not installed; install it with: pip install 'mge[export]'"
        ) from error
    num_bytes = sum(tensor.nbytes for tensor in graph.state_dict.values())
    if num_bytes > LARGEST_ONNX:
        raise ConfigError(
            f"the weights have {num_bytes / 1e9:.1f} GB; accepted for ONNX: up to 2 GB; use --format torch-export"
        )
    try:
        with quiet():
            program = torch.onnx.export(
                graph, dynamo=True, input_names=inputs, output_names=outputs, opset_version=OPSET, verbose=False
            )
            assert program is not None
            proto = program.model_proto
    except RuntimeError as error:  # base class of the exporter's errors
        raise ConfigError(
            f"the network cannot be written as ONNX: {first_line(error)}; use --format torch-export"
        ) from error
    for key, text in metadata.items():
        proto.metadata_props.add(key=key, value=text)
    content: bytes = proto.SerializeToString()
    return content


def write_torch_export(graph: torch.export.ExportedProgram, file: Path) -> None:
    """Write a graph for `torch.export.load`; the name ends in .pt2."""
    with quiet():
        torch.export.save(graph, file)


def write_openvino(onnx_content: bytes, file: Path) -> None:
    """Write a graph in OpenVINO's format, an .xml with a .bin file beside it, in full precision.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    try:
        import openvino  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            "writing OpenVINO models needs openvino, which is not installed; install it with: pip install "
            "'mge[openvino]'"
        ) from error
    openvino.save_model(openvino.Core().read_model(onnx_content), file, compress_to_fp16=False)
