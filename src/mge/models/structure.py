"""Structure of a network's end: the layers between its last map and the features that its classifier reads."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mge.errors import ConfigError
from mge.models.neck import apply_layers, check_layers, is_passing

TOKEN_POOLS = ("token", "map")  # a class token, or attention over all tokens


class Structure(NamedTuple):
    """Structure of a network's head: from its last map to the features of its classifier."""

    layout: Literal["NCHW", "NHWC", "tokens"]  # of the result of `forward_features`
    pools: bool  # whether the features come from the mean over the cells; not with a class token
    before: tuple[str, ...]  # names of the layers between the last map and its mean
    behind: tuple[str, ...]  # names of the layers between the mean and the classifier


def as_map(final: Tensor, last: Tensor, *, layout: str) -> Tensor:
    """Convert the result of `forward_features` to (B, D, h, w) without class tokens."""
    if layout == "NHWC":
        return final.permute(0, 3, 1, 2)
    if layout == "tokens":
        height, width = last.shape[2:]
        cells: Tensor = final[:, -height * width :].mT.unflatten(2, (height, width))
        return cells
    return final


def find_structure(net: Any, final: Tensor, last: Tensor, *, name: str) -> Structure:  # noqa: ANN401
    """Infer from the layers run by `forward_head` how a network computes its features from its last map.

    Args:
        net: The network, in evaluation mode.
        final: Result of its `forward_features` for some image.
        last: Its last stage for the same image, (B, D, h, w).
        name: Its name.

    Raises:
        ConfigError: the features are not a function of the map's mean with a known gradient.
    """
    if not isinstance(final, Tensor):
        raise ConfigError(
            f"backbone {name} returns several feature maps at its end; choose one that returns one, such as a ResNet"
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
            f"backbone {name} has layers after its last feature map that mix cells, so class activation maps cannot be "
            "computed; choose another backbone, such as a ResNet, ConvNeXt, EfficientNet, Swin or ViT"
        )
    check_layers(ends, name=name)
    large = as_map(noise, last, layout=layout)
    for layer in layers:
        large = layer(large)
    found = apply_layers(ends, large.mean((2, 3)))
    if found.shape != wanted.shape or not (found.is_meta or torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)):
        raise ConfigError(
            f"backbone {name} computes its features in an unsupported way, so class activation maps cannot be "
            "computed; choose another backbone, such as a ResNet, ConvNeXt, EfficientNet, Swin or ViT"
        )
    return Structure(layout, True, before, behind)


def _trace_head(net: Any, final: Tensor) -> tuple[list[str], Tensor]:  # noqa: ANN401
    """Return the names of the layers that `forward_head` runs, in order, and the resulting features."""
    ran: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: ran.append(name)

    layers = {
        name: module
        for name, module in net.named_modules()
        if not list(module.children()) or isinstance(module, nn.BatchNorm2d)  # timm's may contain an activation
    }
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in layers.items()]
    try:
        features: Tensor = net.forward_head(final, pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in ran if name.rpartition(".")[0] not in ran], features
