"""Timm networks as backbones: feature maps at two depths, and the features that the pretrained classifier reads.

The only file that says timm.
"""

import contextlib
import difflib
import inspect
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from mge.models.neck import apply_layers, check_layers, is_passing, pull_back

OFFSET_PICTURES = 4  # noise pictures that the offset is measured on
OFFSET_CELLS = 8  # their side in cells, where the network takes any size
TOKEN_POOLS = ("token", "map")  # a class token, or attention over all tokens
DEFAULT_SIDE = 224  # of networks that say nothing about it
MIN_CELLS = 2  # a coarser map than 2 x 2 cannot say where


class FeatureMaps(NamedTuple):
    """Features of a view at two depths, and pooled."""

    part: Tensor  # (B, D', h', w') the stage before the last: what the part filters read
    large: Tensor  # (B, D, h, w) the map that the network pools
    pooled: Tensor  # (B, F) what the network's own classifier reads


class Structure(NamedTuple):
    """Layout of a network's end: how its last map becomes the features that its classifier reads."""

    layout: Literal["NCHW", "NHWC", "tokens"]  # of what `forward_features` returns
    pools: bool  # whether the features come from the mean over the cells; not with a class token
    before: tuple[str, ...]  # names of the layers between the last map and its mean
    behind: tuple[str, ...]  # names of the layers between the mean and the classifier


class Backbone(nn.Module):
    """A timm network without its classifier.

    Pooled features are those that the network's own classifier reads: `forward_head(forward_features(x),
    pre_logits=True)`, with every pretrained layer between the last stage and the classifier (the LayerNorm of ConvNeXt,
    the 1x1 convolutions of EfficientNet and MobileNet).

    Networks with stages (ResNet, ConvNeXt, EfficientNet, Swin) give their last two stages. Transformers of one
    resolution (ViT) give the block at three quarters of their depth and the last one, normalised. Whatever a network
    computes with (tokens, NHWC), the maps are (B, D, h, w).

    Args:
        name: Name of a timm model.
        size: Side of the square views in pixels, for networks that are built for one size. None: any size is fed, and
            networks of a fixed size are built for their own.
        output_stride: Pixels for each cell of the last map: 32, 16 or 8. 0 leaves it to the network.
        pretrained: Whether to start from timm's pretrained weights (downloaded once, then cached by Hugging Face).
        weights: File with weights in timm's names (.safetensors or .pth) to start from instead.
        head_layers: `pretrained` keeps the layers between the last stage and the classifier; `none` leaves them out, as
            models stored before they were kept need it.

    Raises:
        ConfigError: no such model, one without feature maps, an unsuitable size or stride, or weights that cannot be
            had.
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
                f"size is {size} px, too small for {name}, which sees {self.stride} px in one cell of its last map; "
                f"use at least {MIN_CELLS * self.stride}"
            )
        if size is not None and is_flat and size % self.stride:
            raise ConfigError(
                f"size is {size} px, which {name} cannot cut into patches of {self.stride} px; use a multiple of "
                f"{self.stride}, such as {round(size / self.stride) * self.stride}"
            )
        if pretrained and weights is None:
            self.net = _create_pretrained(name, options)
        self.num_features = self.width
        self.structure: Structure | None = None
        self._normalizes = True  # whether intermediate stages come normalised
        # Layers that are not used must not be stored, or waited for by other processes.
        if head_layers == "none":
            self.net.prune_intermediate_layers(list(self.depths), prune_norm=False, prune_head=True)
        else:
            self.net.reset_classifier(0)
            self._examine(size or self.fixed_size or _usual_size(name))
        if weights is not None:
            load_weights(self.net, Path(weights), name=name)

    def measure_offset(self) -> float:
        """How far right of and below a cell of the last map, as drawn over the view, lies what the cell sees.

        A strided convolution with padding sees around the first pixel of its step, not around the middle of it. Over
        a whole network this adds up: to -15 of the 32 px of a ResNet-50's cell. It is 0 for ViT, Swin and ConvNeXt,
        whose patches do not overlap.

        Returns:
            Pixels of the view: the centre of mass of the squared gradient of the middle of the map with respect to
            noise, seen from the middle of the view, on average over both axes.
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
        """Return the feature maps of normalised pictures, and their pooled features."""
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
        """Return the gradient at the pooled map of `(cotangent * pooled features).sum()`, in closed form.

        For a class's row of the classifier's weights and divided by the number of cells, these are Grad-CAM's weights.
        Networks that read a class token have no gradient at the cells behind their last block; their cells are weighed
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

    @torch.no_grad()
    def _examine(self, side: int) -> None:
        """Find out how the network pools, and check that views of this size go through it.

        Raises:
            ConfigError: they do not, or attention cannot be followed through the network's end.
        """
        self.net.eval()
        blank = torch.zeros(1, 3, side, side, device=next(self.net.parameters()).device)
        try:
            try:
                final, _, last = self._run(blank)
            except AssertionError:  # Hiera gives its stages as they are
                self._normalizes = False
                final, _, last = self._run(blank)
            structure = _find_structure(self.net, final, last, name=self.name)
        except ConfigError:
            raise
        except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError, IndexError) as error:
            usual = timm.get_pretrained_cfg(self.name)
            remedy = f"use --size {usual.input_size[-1]}" if usual and usual.input_size[-1] != side else "take another"
            raise ConfigError(
                f"backbone {self.name} does not take views of {side} px: {first_line(error)}; {remedy}"
            ) from error
        self.structure = structure
        self.net.train()
        large = self._map_of(final, last)
        self.width = large.shape[1]
        self.num_features = int(self.net.head_hidden_size)

    def _map_of(self, final: Tensor, last: Tensor) -> Tensor:
        """The map that the network pools, (B, D, h, w), from what `forward_features` returned."""
        assert self.structure is not None
        large = _as_map(final, last, layout=self.structure.layout)
        for layer in self._layers(self.structure.before):
            large = layer(large)
        return large


class PretrainedInput(NamedTuple):
    """Pictures as a network's pretrained weights expect them."""

    mean: tuple[float, float, float]  # of red, green and blue, from 0 to 1
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    size: int | None  # side in pixels, of networks that take only one


def pretrained_input(name: str) -> PretrainedInput:
    """Return how a network's pretrained weights expect their input, as timm's `pretrained_cfg` says.

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


def _as_map(final: Tensor, last: Tensor, *, layout: str) -> Tensor:
    """What `forward_features` returned, as (B, D, h, w) and without class tokens."""
    if layout == "NHWC":
        return final.permute(0, 3, 1, 2)
    if layout == "tokens":
        height, width = last.shape[2:]
        cells: Tensor = final[:, -height * width :].mT.unflatten(2, (height, width))
        return cells
    return final


def _find_structure(net: Any, final: Tensor, last: Tensor, *, name: str) -> Structure:  # noqa: ANN401
    """Read off the layers that `forward_head` runs how a network makes features of its last map.

    Args:
        net: The network, in evaluation mode.
        final: What its `forward_features` returned for some picture.
        last: Its last stage for the same picture, (B, D, h, w).
        name: Its name.

    Raises:
        ConfigError: the features are no function of the map's mean that attention can be followed through.
    """
    if not isinstance(final, Tensor):
        raise ConfigError(
            f"backbone {name} ends in several maps at once; choose one that ends in one, such as a ResNet"
        )
    is_channels_last = final.ndim == 4 and final.shape[1:] == (*last.shape[2:], last.shape[1]) != last.shape[1:]
    layout: Literal["NCHW", "NHWC", "tokens"] = "tokens" if final.ndim == 3 else "NHWC" if is_channels_last else "NCHW"
    noise = final if final.is_meta else torch.randn(final.shape, generator=torch.Generator().manual_seed(0))
    ran, wanted = _trace_head(net, noise)
    if layout == "tokens" and getattr(net, "global_pool", "avg") in TOKEN_POOLS and wanted.shape[1] == last.shape[1]:
        return Structure(layout, False, (), ())
    pool = next((number for number, each in enumerate(ran) if "Pool" in type(net.get_submodule(each)).__name__), -1)
    before, behind = (
        tuple(each for each in part if not is_passing(net.get_submodule(each)))
        for part in (ran[: max(pool, 0)], ran[pool + 1 :])
    )
    layers, ends = ([net.get_submodule(each) for each in names] for names in (before, behind))
    if any(isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1) for layer in layers):
        raise ConfigError(
            f"backbone {name} has layers behind its last map that see several cells at once, through which MGE cannot "
            "follow attention; choose another backbone, such as a ResNet, ConvNeXt, EfficientNet, Swin or ViT"
        )
    check_layers(ends, name=name)
    large = _as_map(noise, last, layout=layout)
    for layer in layers:
        large = layer(large)
    found = apply_layers(ends, large.mean((2, 3)))
    if found.shape != wanted.shape or not (found.is_meta or torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)):
        raise ConfigError(
            f"backbone {name} makes its features in a way that MGE does not know, so attention cannot be followed; "
            "choose another backbone, such as a ResNet, ConvNeXt, EfficientNet, Swin or ViT"
        )
    return Structure(layout, True, before, behind)


def _trace_head(net: Any, final: Tensor) -> tuple[list[str], Tensor]:  # noqa: ANN401
    """Names of the layers that `forward_head` runs, in order, and the features that it makes."""
    ran: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: ran.append(name)

    layers = {
        name: module
        for name, module in net.named_modules()
        if not list(module.children()) or isinstance(module, nn.BatchNorm2d)  # timm's may hold an activation
    }
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in layers.items()]
    try:
        features: Tensor = net.forward_head(final, pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in ran if name.rpartition(".")[0] not in ran], features


def synchronize_batch_norm(module: nn.Module) -> nn.Module:
    """The same module with batch norm over all processes, which GPUs can do; timm's own kinds keep their activation."""
    converted: nn.Module = timm.layers.convert_sync_batchnorm(module)  # type: ignore[attr-defined,no-untyped-call]
    return converted


def load_weights(net: nn.Module, file: Path, *, name: str) -> None:
    """Fills a timm network from a local file, which may hold more than the network: a classifier, say.

    Raises:
        ConfigError: the file is missing, unreadable, or holds the weights of another network.
    """
    state = _read(file, name=name)
    wanted = net.state_dict()
    wrong = _misfits(state, wanted)
    adapt = getattr(inspect.getmodule(type(net)), "checkpoint_filter_fn", None)
    if wrong and adapt is not None and all(key in state for key in wanted):
        state = adapt(dict(state), net)  # timm resamples the position embeddings of another picture size
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
    """The tensors of a weights file by their names; nothing else is unpickled."""
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
            f"weights file {str(file)!r} is damaged or holds more than weights, and is refused; give a .safetensors or "
            f".pth file of {name}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ConfigError(
            f"weights file {str(file)!r} holds something else than tensors by their names; give the state dict of "
            f"timm's {name}"
        )
    return state


def _usual_size(name: str) -> int:
    """Side in pixels of the pictures that a network was made for."""
    settings = timm.get_pretrained_cfg(name)
    return DEFAULT_SIDE if settings is None else int(settings.input_size[-1])


def _fixed_size(name: str, *, size: int | None) -> int | None:
    """The only size that a network of a fixed one takes; None where any will do."""
    settings = timm.get_pretrained_cfg(name)
    return (size or settings.input_size[-1]) if settings is not None and settings.fixed_input_size else None


def _options(name: str, *, size: int | None, output_stride: int) -> dict[str, Any]:
    """What timm is told besides the name."""
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`timm.list_models()` has them all"
        raise ConfigError(f"backbone {name!r} is not a timm model; {hint}")
    try:
        has_fixed_size = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    except RuntimeError as error:
        known = ", ".join(timm.list_pretrained(name.split(".")[0])) or "none"
        raise ConfigError(f"backbone {name!r} names weights that timm does not have; it has {known}") from error
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
        raise ConfigError(f"backbone {name} does not take {given}: {first_line(error)}") from error


def _stages(net: Any, name: str) -> list[dict[str, Any]]:  # noqa: ANN401
    info = getattr(net, "feature_info", None)
    if info is None or not hasattr(net, "forward_intermediates"):
        raise ConfigError(f"backbone {name} has no feature maps to attend to; take a ResNet, ConvNeXt, Swin or ViT")
    return cast(list[dict[str, Any]], list(info))


def _create_pretrained(name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401
    """The network anew, filled by timm itself: it knows how to fit weights to another picture size."""
    try:
        with _cache_only_without_network():
            return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the pretrained weights of {name} cannot be had ({first_line(error)}); download them elsewhere and give "
            "--weights FILE, or train from scratch with --no-pretrained"
        ) from error


@contextlib.contextmanager
def _cache_only_without_network() -> Iterator[None]:
    """Without a network, lets Hugging Face look into its cache at once instead of calling its server for a minute."""
    hub = urlsplit(constants.ENDPOINT)
    was_offline = constants.HF_HUB_OFFLINE
    try:
        if not getproxies():  # a proxy knows names that this machine does not
            socket.getaddrinfo(hub.hostname, hub.port or hub.scheme)
    except socket.gaierror:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
