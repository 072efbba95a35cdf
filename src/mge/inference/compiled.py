"""The fast path of inference: the whole mixture, compiled ahead of time into one frozen graph.

torch.export takes the mixture as one graph without breaks; AOTInductor folds batch norms and weights into it, lays
channels last, and writes native code into one file. A second start loads the file instead of compiling (torch.compile
would trace the network anew each time). Backbones and part filters run in bfloat16 where the processor multiplies it
natively; pooled features, maps, boxes, zooms, heads and the mixture stay in float32, as does the first expert, whose
box decides what all others see.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from mge.core.outputs import MixtureOutput
from mge.errors import ConfigError, MissingExtraError, first_line
from mge.inference.agreement import Mixture
from mge.models.backbone import Backbone, FeatureMaps
from mge.models.expert import Expert
from mge.models.mixture import MixtureOfExperts

Arithmetic = Literal["float32", "bfloat16"]

MAX_BATCH = 512  # photos that a compiled graph takes at a time
COMPILED_FOR = 4  # photos that inductor sees when it lays out its loops


def multiplies_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether bfloat16 is quicker than float32 in inference: its products are an instruction of the hardware.

    On a CPU that is AMX, or AVX-512 with BF16 (an EPYC took 0.6 of float32's time); emulated it is slower.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def in_bfloat16(model: MixtureOfExperts, *, first_too: bool = False) -> MixtureOfExperts:
    """A copy with backbones and part filters in bfloat16 but for the first expert's, and everything else in float32.

    What the first expert rounds away moves the boxes of all others, and so most of the answers that change do so
    because of it: on grocery's test photos 0.7 to 1.4 % of them with it in bfloat16, 0.3 to 0.6 % without.

    Args:
        model: The mixture. It is left as it is.
        first_too: Whether the first expert computes in bfloat16 as well. A single network always does.
    """
    quick = copy.deepcopy(model)
    num_exact = 0 if first_too or len(quick.experts) == 1 else 1
    for expert in cast(list[Expert], list(quick.experts)[num_exact:]):
        _replace(expert, "backbone", _InBfloat16(expert.backbone))
        if expert.part_filters is not None:
            _replace(expert, "part_filters", _InBfloat16(expert.part_filters))
    if quick.gate is not None and quick.gate.backbone is not None:
        _replace(quick.gate, "backbone", _InBfloat16(quick.gate.backbone))
    return quick


class _InBfloat16(nn.Module):
    """A module under autocast. Weights are rounded behind batch norm, which inductor folds in float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> FeatureMaps | Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            found: FeatureMaps | Tensor = self.module(images)
        # The attention map is a sum over the last map: float32 from here on.
        if isinstance(found, FeatureMaps):
            return FeatureMaps(found.part, found.large.float(), found.pooled.float())
        return found.float()

    def pull_back(self, features: Tensor, cotangent: Tensor) -> Tensor:
        """The backbone's own; see `Backbone.pull_back`."""
        return cast(Backbone, self.module).pull_back(features, cotangent)


class AsTuple(nn.Module):
    """A mixture that returns a plain tuple: a compiled or exported file knows no NamedTuple of ours."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The fields of the mixture's output, in their order."""
        return tuple(self.model(images))


def compile_mixture(model: MixtureOfExperts, file: Path, *, arithmetic: Arithmetic = "float32") -> None:
    """Compiles a mixture for uint8 pictures of its size, as many at a time as one likes, and writes it to a file.

    Takes a minute or more for large networks. The file holds native code for this kind of processor, with the weights.

    Args:
        model: The mixture, in evaluation mode, on the device that it shall run on. It is left as it is.
        file: Where the compiled graph is written.
        arithmetic: Of backbones and part filters; see `in_bfloat16`.

    Raises:
        MissingExtraError: there is no C++ compiler.
        ConfigError: the network cannot be compiled here.
    """
    side = model.config.photo_side
    with torch.inference_mode(False):  # tensors made in that mode, where predictions come from, cannot be exported
        pictures = torch.zeros(COMPILED_FOR, 3, side, side, dtype=torch.uint8, device=next(model.parameters()).device)
        quick = in_bfloat16(model) if arithmetic == "bfloat16" else copy.deepcopy(model)
        compile_network(AsTuple(quick), pictures, file)


def compile_network(network: nn.Module, images: Tensor, file: Path) -> None:
    """Compiles any network of one batch of pictures, as many at a time as one likes, and writes it to a file.

    Args:
        network: Returns a tuple of tensors. It is frozen and its weights are laid out anew.
        images: Pictures of the kind that it shall take.
        file: Where the compiled graph is written.

    Raises:
        MissingExtraError: there is no C++ compiler.
        ConfigError: the network cannot be compiled here.
    """
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    batch = ({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},)
    _check_compiler()
    try:
        with torch.no_grad(), quiet(), file.open("w+b") as out:
            graph = torch.export.export(network, (images,), dynamic_shapes=batch)
            torch._inductor.aoti_compile_and_package(graph, package_path=out, inductor_configs={"freezing": True})
    except RuntimeError as error:  # torch's own errors of tracing and compiling are all children of it
        raise ConfigError(f"the network cannot be compiled here: {first_line(error)}; use --no-fast") from error


def load_compiled(file: Path, *, side: int) -> Mixture:
    """The mixture that `compile_mixture` wrote: a function of uint8 pictures that answers as the mixture does.

    A file holds native code: load only what was compiled on this machine.

    Args:
        file: The compiled graph.
        side: Side in pixels of the pictures that it was compiled for.

    Raises:
        ConfigError: the file cannot be loaded.
    """
    try:
        with quiet():
            graph = torch._inductor.aoti_load_package(str(file))
    except RuntimeError as error:
        raise ConfigError(
            f"compiled graph {file} cannot be loaded: {first_line(error)}; delete it, and try again"
        ) from error

    def answer(images: Shaped[Tensor, "B 3 H W"]) -> MixtureOutput:
        # The native code reads memory as it was told to when it was compiled, and checks nothing.
        assert images.dtype == torch.uint8, f"pictures are {images.dtype}"
        assert images.shape[1:] == (3, side, side), f"pictures are {tuple(images.shape)}"
        return concatenate([MixtureOutput(*graph(part)) for part in images.contiguous().split(MAX_BATCH)])

    return answer


def concatenate(outputs: list[MixtureOutput]) -> MixtureOutput:
    """The outputs of several batches as that of one."""
    if len(outputs) == 1:
        return outputs[0]
    return MixtureOutput(*(torch.cat(field) for field in zip(*outputs, strict=True)))


def _replace(parent: nn.Module, name: str, wrapped: nn.Module) -> None:
    """Puts a wrapped module where the module was, whose type the parent's annotations still say."""
    parent.register_module(name, wrapped)


def _check_compiler() -> None:
    """Raises MissingExtraError where inductor will find no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415  (2 s, for the fast path only)
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise MissingExtraError(
            "the fast path needs a C++ compiler, and there is none; install g++ (or set CXX), or use --no-fast"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's remarks about its own compiling away from the user: whatever stops it raises."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(previous)
