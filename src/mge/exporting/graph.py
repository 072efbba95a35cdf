"""The whole mixture as one graph that runs without us: normalisation, experts, boxes, zooms and gate inside.

It takes uint8 pictures, as many at a time as one likes. `OUTPUTS` names what it gives.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from mge.core.outputs import MixtureOutput
from mge.errors import ConfigError, MissingExtraError, first_line
from mge.inference.compiled import AsTuple, quiet
from mge.models.mixture import MixtureOfExperts

OPSET = 18  # of ONNX; the oldest that has all we need, so that older runtimes take it too
LARGEST_ONNX = 2_000_000_000  # bytes of weights; protobuf ends at 2 GiB
EXAMPLES = 2  # pictures that the exporter sees; with one it would hold the batch size for a constant

# What the graph gives, by name: B photos, E experts, C classes, h x w cells.
OUTPUTS = {
    "logits": "(B, C) the mixture",
    "gate_probs": "(B, E) how much each expert counts",
    "large_logits": "(B, E, C) each expert's large-part head",
    "part_logits": "(B, E, C) each expert's small-part head",
    "joint_logits": "(B, E, C) each expert's own answer",
    "attention": "(B, E, h, w) each expert's map over its own view, from 0 to 1",
    "boxes_xyxy": "(B, E, 4) what each expert saw, in pixels of the pictures given, end-exclusive",
    "probabilities": "(B, C) what `mge predict` says: the softmax of the logits, calibrated where the model is",
}
assert tuple(OUTPUTS)[:-1] == MixtureOutput._fields


class WithProbabilities(nn.Module):
    """A mixture that also says probabilities, in a plain tuple.

    Args:
        model: The mixture.
        temperature: What its logits are divided by before they become probabilities.
    """

    def __init__(self, model: MixtureOfExperts, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.answers = AsTuple(model)
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors that `OUTPUTS` names, in their order."""
        said = self.answers(images)
        return (*said, (said[0].float() / self.temperature).softmax(1))


def example_pictures(model: MixtureOfExperts) -> Tensor:
    """Pictures of the kind that a mixture takes, all black."""
    side = model.config.photo_side
    return torch.zeros(EXAMPLES, 3, side, side, dtype=torch.uint8)


def to_graph(model: MixtureOfExperts, *, temperature: float = 1.0) -> torch.export.ExportedProgram:
    """The mixture as torch.export holds it.

    Args:
        model: In evaluation mode, on the CPU.
        temperature: Of its probabilities.

    Raises:
        ConfigError: the network cannot be exported.
    """
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen.sampling = "matrices"  # ONNX Runtime looks the points of a grid up one by one: 4 to 7 times the time
    return trace(WithProbabilities(frozen, temperature=temperature), (example_pictures(model),))


def trace(network: nn.Module, examples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Any network of pictures, and whatever else there is of each photo, as a graph for any number of photos.

    Raises:
        ConfigError: it cannot be exported.
    """
    batch = ({0: torch.export.Dim("batch", min=1)},) * len(examples)
    try:
        with torch.inference_mode(False), torch.no_grad(), quiet():
            return torch.export.export(network.eval(), examples, dynamic_shapes=batch)
    except RuntimeError as error:  # torch's own errors of tracing are all children of it
        raise ConfigError(f"the network cannot be exported: {first_line(error)}; try another backbone") from error


def to_onnx(
    graph: torch.export.ExportedProgram, *, inputs: list[str], outputs: list[str], metadata: dict[str, str]
) -> bytes:
    """A graph as the content of an .onnx file, its weights inside.

    Args:
        graph: From `to_graph` or `trace`.
        inputs: Names of what it takes.
        outputs: Names of what it gives.
        metadata: Texts that the file shall hold.

    Raises:
        ConfigError: it has a part that ONNX has no word for, or is larger than a file of ONNX can be.
        MissingExtraError: the packages that write ONNX are not installed.
    """
    try:
        import onnx  # noqa: F401, PLC0415  (an extra)
        import onnxscript  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX is written by {error.name}, which is not installed; get it with: pip install 'mge[export]'"
        ) from error
    num_bytes = sum(tensor.nbytes for tensor in graph.state_dict.values())
    if num_bytes > LARGEST_ONNX:
        raise ConfigError(f"the weights have {num_bytes / 1e9:.1f} GB, and a file of ONNX up to 2; use torch-export")
    try:
        with quiet():
            program = torch.onnx.export(
                graph, dynamo=True, input_names=inputs, output_names=outputs, opset_version=OPSET, verbose=False
            )
            assert program is not None
            proto = program.model_proto
    except RuntimeError as error:  # the exporter's own errors are all children of it
        raise ConfigError(f"the network cannot be written as ONNX: {first_line(error)}; use torch-export") from error
    for key, text in metadata.items():
        proto.metadata_props.add(key=key, value=text)
    content: bytes = proto.SerializeToString()
    return content


def write_torch_export(graph: torch.export.ExportedProgram, file: Path) -> None:
    """Writes a graph as `torch.export.load` reads it; the name ends in .pt2."""
    with quiet():
        torch.export.save(graph, file)


def write_openvino(onnx_content: bytes, file: Path) -> None:
    """Writes a graph as OpenVINO reads it, an .xml and a .bin file beside it, in full precision.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    try:
        import openvino  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtraError(
            "OpenVINO's files are written by openvino, which is not installed; get it with: pip install 'mge[openvino]'"
        ) from error
    openvino.save_model(openvino.Core().read_model(onnx_content), file, compress_to_fp16=False)
