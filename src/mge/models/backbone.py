"""Timm networks as backbones: feature maps at two depths, and the features of the pretrained classifier.

Only this file and `timm_folder.py` import timm.
"""

import contextlib
import difflib
import inspect
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mge.config import NORMALIZATIONS, HeadLayers
from mge.errors import ConfigError, first_line
from mge.models.neck import apply_layers, pull_back
from mge.models.structure import Structure, as_map, find_structure

OFFSET_PICTURES = 4  # noise images for measuring the offset
OFFSET_CELLS = 8  # their side in cells, where the network takes any size
DEFAULT_SIDE = 224  # of networks without a default size
MIN_CELLS = 2  # a coarser map than 2 x 2 cannot localise


class FeatureMaps(NamedTuple):
    """Features of a view at two depths, and pooled."""

    part: Tensor  # (B, D', h', w') the stage before the last: input of the part filters
    large: Tensor  # (B, D, h, w) the map that the network pools
    pooled: Tensor  # (B, F) input of the network's own classifier


class End(NamedTuple):
    """End of a network, shared by all networks of its kind."""

    structure: Structure
    normalizes: bool  # whether intermediate stages are normalised
    width: int  # channels of the map that it pools


_ENDS: dict[tuple[str, int | None, int, str], End] = {}  # by name, size of a view, output stride, type of device


class Backbone(nn.Module):
    """A timm network without its classifier.

    Pooled features are the input of the network's own classifier: `forward_head(forward_features(x), pre_logits=True)`,
    with every pretrained layer between the last stage and the classifier (the LayerNorm of ConvNeXt, the 1x1
    convolutions of EfficientNet and MobileNet).

    Networks with stages (ResNet, ConvNeXt, EfficientNet, Swin) give their last two stages. Transformers of one
    resolution (ViT) give the block at three quarters of their depth and the last one, normalised. Whatever the internal
    layout (tokens, NHWC), the maps are (B, D, h, w).

    Args:
        name: Name of a timm model.
        size: Side of the square views in pixels, for networks that are built for one size. None: any size is accepted,
            and networks of a fixed size are built for their default size.
        output_stride: Pixels per cell of the last map: 32, 16 or 8. 0 keeps the network's own.
        pretrained: Whether to start from timm's pretrained weights (downloaded once, then cached by Hugging Face).
        weights: File with weights in timm's names (.safetensors or .pth) to start from instead.
        head_layers: `pretrained` keeps the layers between the last stage and the classifier; `none` leaves them out, as
            models stored by older versions need it.

    Raises:
        ConfigError: no such model, one without feature maps, an unsuitable size or stride, or weights that could not be
            downloaded.
    """

    def __init__(
        self, name: str, *, size: int | None = None, output_stride: int = 0, pretrained: bool = True,
        weights: str | Path | None = None, head_layers: HeadLayers = "pretrained",
    ) -> None:  # fmt: skip
        super().__init__()
        self.name = name = plain_name(name)
        options = _options(name, size=size, output_stride=output_stride)
        self.net = _create(name, options)
        self.fixed_size = _fixed_size(name, size=size)
        stages = _stages(self.net, name)
        last = len(stages) - 1
        is_flat = stages[0]["reduction"] == stages[last]["reduction"]
        self.depths = ((3 * len(stages)) // 4 - 1 if is_flat else last - 1, last)
        self.part_width, self.width = (int(stages[depth]["num_chs"]) for depth in self.depths)
        self.stride = min(int(stages[last]["reduction"]), output_stride or 2**16)
        if size is not None and size < MIN_CELLS * self.stride:
            raise ConfigError(
                f"size is {size} px, too small for {name} with a stride of {self.stride} px; use at least "
                f"{MIN_CELLS * self.stride}"
            )
        if size is not None and is_flat and size % self.stride:
            raise ConfigError(
                f"size is {size} px, which {name} cannot divide into patches of {self.stride} px; use a multiple of "
                f"{self.stride}, such as {round(size / self.stride) * self.stride}"
            )
        if pretrained and weights is None:
            self.net = _create_pretrained(name, options)
        self.num_features = self.width
        self.structure: Structure | None = None
        self._normalizes = True  # whether intermediate stages are normalised
        # Unused layers must not be stored, nor waited for by DDP.
        if head_layers == "none":
            self.net.prune_intermediate_layers(list(self.depths), prune_norm=False, prune_head=True)
        else:
            self.net.reset_classifier(0)
            self._examine(size, output_stride)
        if weights is not None:
            load_weights(self.net, Path(weights), name=name)

    def measure_offset(self) -> float:
        """Measure the offset of a cell's receptive field from the cell's place in the last map, to the right and below.

        A strided convolution with padding is centred on the first pixel of its step, not on the middle of it. Over a
        whole network this adds up: to -15 of the 32 px of a ResNet-50's cell. It is 0 for ViT, Swin and ConvNeXt, whose
        patches do not overlap.

        Returns:
            Pixels of the view: the centre of mass of the squared gradient of the middle of the map with respect to
            noise, relative to the middle of the view, averaged over both axes.
        """
        rng = torch.Generator().manual_seed(0)
        side = self.fixed_size or OFFSET_CELLS * self.stride
        noise = torch.randn(OFFSET_PICTURES, 3, side, side, generator=rng).to(next(self.parameters()).device)
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            features = self(noise.requires_grad_()).large
            rows, columns = (slice((cells - 1) // 2, cells // 2 + 1) for cells in features.shape[2:])
            middle = features[:, :, rows, columns]
            (gradient,) = torch.autograd.grad(
                (middle * torch.randn(middle.shape, generator=rng).to(middle)).sum(), noise
            )
        self.train(was_training)
        mass = gradient.square().sum((0, 1))
        centers = torch.arange(side, device=mass.device) + 0.5
        found = ((mass.sum(0) + mass.sum(1)) * centers).sum() / (2 * mass.sum())
        return round(found.item() - side / 2, 2)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeatureMaps:
        """Return the feature maps of normalised images, and their pooled features."""
        if self.structure is None:
            part, large = self.net.forward_intermediates(
                images, indices=list(self.depths), norm=True, output_fmt="NCHW", intermediates_only=True
            )
            return FeatureMaps(part, large, large.mean((2, 3)))
        final, part, last = self._run(images)
        large = self._map_of(final, last)
        if self.structure.pools:
            pooled = apply_layers(self._layers(self.structure.behind), large.mean((2, 3)))
        else:
            pooled = self.net.forward_head(final, pre_logits=True)
        return FeatureMaps(part, large, pooled)

    def pull_back(self, large: Float[Tensor, "B D h w"], cotangent: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        """Return the gradient of `(cotangent * pooled features).sum()` at the pooled map, in closed form.

        For a class's row of the classifier's weights and divided by the number of cells, these are Grad-CAM's weights.
        Networks that read a class token have no gradient at the cells behind their last block; their cells are weighted
        by the classifier itself.

        Args:
            large: The map, from `forward`.
            cotangent: Gradient at the pooled features.
        """
        if self.structure is None or not self.structure.behind:
            return cotangent
        with torch.autocast(large.device.type, enabled=False):
            return pull_back(self._layers(self.structure.behind), large.float().mean((2, 3)), cotangent)

    def _layers(self, names: Sequence[str]) -> list[nn.Module]:
        return [self.net.get_submodule(name) for name in names]

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output of `forward_features`, and the maps at both depths."""
        final, (part, last) = self.net.forward_intermediates(
            images, indices=list(self.depths), norm=self._normalizes, output_fmt="NCHW"
        )
        return final, part, last

    def _examine(self, size: int | None, output_stride: int) -> None:
        """Determine the pooling of the network, once per process for all networks of its kind: it needs a forward pass.

        Raises:
            ConfigError: it does not accept views of this size, or its head cannot be differentiated in closed form.
        """
        device = next(self.net.parameters()).device
        kind = (self.name, size, output_stride, device.type)  # on meta no numbers can be compared
        if kind not in _ENDS:
            _ENDS[kind] = self._trace(size or self.fixed_size or _usual_size(self.name), device=device)
        self.structure, self._normalizes, self.width = _ENDS[kind]
        self.num_features = int(self.net.head_hidden_size)

    @torch.no_grad()
    def _trace(self, side: int, *, device: torch.device) -> End:
        """Return how the network ends, from a blank view; the network is left as it was."""
        self.net.eval()
        blank = torch.zeros(1, 3, side, side, device=device)
        try:
            try:
                final, _, last = self._run(blank)
            except AssertionError:  # Hiera returns its stages unnormalised
                self._normalizes = False
                final, _, last = self._run(blank)
            self.structure = find_structure(self.net, final, last, name=self.name)
        except ConfigError:
            raise
        except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError, IndexError) as error:
            usual = timm.get_pretrained_cfg(self.name)
            remedy = f"use --size {usual.input_size[-1]}" if usual and usual.input_size[-1] != side else "take another"
            raise ConfigError(
                f"backbone {self.name} does not accept an input size of {side} px: {first_line(error)}; {remedy}"
            ) from error
        width = self._map_of(final, last).shape[1]
        self.net.train()
        return End(self.structure, self._normalizes, width)

    def _map_of(self, final: Tensor, last: Tensor) -> Tensor:
        """Return the map that the network pools, (B, D, h, w), given the result of `forward_features`."""
        assert self.structure is not None
        large = as_map(final, last, layout=self.structure.layout)
        for layer in self._layers(self.structure.before):
            large = layer(large)
        return large


class PretrainedInput(NamedTuple):
    """Image preprocessing that a network's pretrained weights expect."""

    mean: tuple[float, float, float]  # of red, green and blue, from 0 to 1
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    size: int | None  # side in pixels, of networks that take only one


def pretrained_input(name: str) -> PretrainedInput:
    """Return the input format of a network's pretrained weights, from timm's `pretrained_cfg`.

    Raises:
        ConfigError: timm has no such model.
    """
    name = plain_name(name)
    _options(name, size=None, output_stride=0)  # checks the name
    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        return PretrainedInput(*NORMALIZATIONS["imagenet"], "bilinear", None)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic" if settings.interpolation == "bicubic" else "bilinear"
    mean, std = (cast(tuple[float, float, float], tuple(map(float, each))) for each in (settings.mean, settings.std))
    return PretrainedInput(mean, std, interpolation, _fixed_size(name, size=None))


def plain_name(name: object) -> str:
    """Return timm's own name of a model of its hub: `timm/resnet50.a1_in1k` is `resnet50.a1_in1k`."""
    if not isinstance(name, str):
        raise ConfigError(f"backbone is a {type(name).__name__}; accepted: text")
    for prefix in ("hf-hub:", "hf_hub:"):
        name = name.removeprefix(prefix)
    return name.removeprefix("timm/")


def create_network(name: str, *, size: int | None, output_stride: int, num_classes: int) -> Any:  # noqa: ANN401
    """Return timm's own network with a new classifier, for views of a size, without pretrained weights.

    Raises:
        ConfigError: there is no such network, or it does not accept the size or stride.
    """
    return _create(name, _options(name, size=size, output_stride=output_stride) | {"num_classes": num_classes})


def list_backbones(pattern: str = "", *, pretrained: bool = True) -> list[str]:
    """Return the names of timm's networks, with the tags of their weights if pretrained ones are listed.

    Args:
        pattern: timm's filter, such as `resnet*`. Empty: all.
        pretrained: Whether to list pretrained weights only, or every architecture.
    """
    return timm.list_pretrained(pattern) if pretrained else timm.list_models(pattern)


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """Convert batch norm to synchronise over all processes (GPUs only); timm's variants keep their activation."""
    converted: nn.Module = timm.layers.convert_sync_batchnorm(module)  # type: ignore[attr-defined,no-untyped-call]
    return converted


def load_weights(net: nn.Module, file: Path, *, name: str) -> None:
    """Load a timm network from a local file, which may contain more than the network, such as a classifier.

    Raises:
        ConfigError: the file is missing, unreadable, or holds the weights of another network.
    """
    state = _read(file, name=name)
    wanted = net.state_dict()
    wrong = _misfits(state, wanted)
    adapt = getattr(inspect.getmodule(type(net)), "checkpoint_filter_fn", None)
    if wrong and adapt is not None and all(key in state for key in wanted):
        state = adapt(dict(state), net)  # timm resamples position embeddings to another image size
        wrong = _misfits(state, wanted)
    if wrong:
        raise ConfigError(
            f"weights file {str(file)!r} does not fit {name}: {len(wrong)} of {len(wanted)} tensors are missing or "
            f"have another shape, the first is {wrong[0]!r}; give the weights of timm's {name}"
        )
    net.load_state_dict({key: state[key] for key in wanted})


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return [key for key, tensor in wanted.items() if key not in state or state[key].shape != tensor.shape]


def _read(file: Path, *, name: str) -> Mapping[str, Tensor]:
    """Read the tensors of a weights file by name; nothing else is unpickled."""
    if not file.is_file():
        raise ConfigError(f"weights file {str(file)!r} does not exist; give a .safetensors or .pth file of {name}")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"weights file {str(file)!r} cannot be read: {first_line(error)}; give a .safetensors or .pth file of "
            f"{name}"
        ) from error
    except UnpicklingError as error:
        raise ConfigError(
            f"weights file {str(file)!r} is damaged or contains more than weights; give a .safetensors or .pth file of "
            f"{name}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ConfigError(
            f"weights file {str(file)!r} does not contain named tensors; give the state dict of timm's {name}"
        )
    return state


def _usual_size(name: str) -> int:
    """Return the side in pixels of the network's default input size."""
    settings = timm.get_pretrained_cfg(name)
    return DEFAULT_SIDE if settings is None else int(settings.input_size[-1])


def _fixed_size(name: str, *, size: int | None) -> int | None:
    """Return the only size that a network of fixed size accepts; None if any is accepted."""
    settings = timm.get_pretrained_cfg(name)
    return (size or settings.input_size[-1]) if settings is not None and settings.fixed_input_size else None


def _options(name: str, *, size: int | None, output_stride: int) -> dict[str, Any]:
    """Return the options of timm's `create_model` besides the name."""
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`timm.list_models()` lists them"
        raise ConfigError(f"backbone {name!r} is not a timm model; {hint}")
    try:
        has_fixed_size = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    except RuntimeError as error:
        known = ", ".join(timm.list_pretrained(name.split(".")[0])) or "none"
        raise ConfigError(f"backbone {name!r} has a weights tag that timm does not know; available: {known}") from error
    options: dict[str, Any] = {}
    if size is not None and has_fixed_size:
        options["img_size"] = size
    if output_stride:
        options["output_stride"] = output_stride
    return options


def _create(name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401  (timm's models share no type)
    try:
        return timm.create_model(name, pretrained=False, **options)
    except (TypeError, AssertionError, NotImplementedError, ValueError) as error:
        given = ", ".join(f"{key}={value}" for key, value in options.items()) or "its own defaults"
        raise ConfigError(f"backbone {name} does not accept {given}: {first_line(error)}") from error


def _stages(net: Any, name: str) -> list[dict[str, Any]]:  # noqa: ANN401
    info = getattr(net, "feature_info", None)
    if info is None or not hasattr(net, "forward_intermediates"):
        raise ConfigError(f"backbone {name} has no spatial feature maps; choose a ResNet, ConvNeXt, Swin or ViT")
    return cast(list[dict[str, Any]], list(info))


def _create_pretrained(name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401
    """Create the network with its pretrained weights; timm adapts them to another image size."""
    try:
        with _cache_only_without_network():
            return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        settings = timm.get_pretrained_cfg(name)
        source = getattr(settings, "hf_hub_id", None)
        elsewhere = f"download {source} from the Hugging Face Hub on another machine and pass" if source else "pass"
        raise ConfigError(
            f"could not download the pretrained weights of {name} ({first_line(error)}); {elsewhere} --weights FILE, "
            "or use --no-pretrained"
        ) from error


@contextlib.contextmanager
def _cache_only_without_network() -> Iterator[None]:
    """Restrict Hugging Face to its cache while offline, instead of retrying its server for a minute."""
    hub = urlsplit(constants.ENDPOINT)
    was_offline = constants.HF_HUB_OFFLINE
    try:
        if not getproxies():  # a proxy resolves names that this machine cannot
            socket.getaddrinfo(hub.hostname, hub.port or hub.scheme)
    except socket.gaierror:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
