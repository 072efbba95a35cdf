"""Layers between a network's pooling and its classifier, such as ConvNeXt's LayerNorm, with their gradients.

Their input is one vector per photo, so the gradient with respect to the pooled features is the product of a vector
with a few small Jacobians. All of them are known in closed form, which keeps attention free of autograd and
exportable.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mge.errors import ConfigError

# Derivative of each activation at its input, by the class name (timm has its own classes under the same names).
DERIVATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": lambda x: (x > 0).to(x.dtype),
    "ReLU6": lambda x: ((x > 0) & (x < 6)).to(x.dtype),
    "Hardswish": lambda x: torch.where(x.abs() < 3, (2 * x + 3) / 6, (x >= 3).to(x.dtype)),
    "GELU": lambda x: 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    "SiLU": lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
    "Tanh": lambda x: 1 - torch.tanh(x) ** 2,
}
PASSING = ("Identity", "Dropout", "Flatten")  # layers that are the identity on one vector per photo


def is_passing(layer: nn.Module) -> bool:
    """Test if a layer is the identity for one vector per photo, in evaluation mode."""
    return type(layer).__name__ in PASSING


def check_layers(layers: Sequence[nn.Module], *, name: str) -> None:
    """Raise ConfigError unless the Jacobian of every layer is known.

    Args:
        layers: Layers behind the pooling.
        name: Name of the network, for the message.
    """
    for layer in layers:
        if not (_is_linear(layer) or _is_norm(layer) or _is_scale(layer) or _is_activation(layer)):
            raise ConfigError(
                f"backbone {name} has a layer {type(layer).__name__} between its pooling and its classifier, through "
                "which class activation maps cannot be computed; choose another backbone, such as a ResNet, ConvNeXt, "
                "EfficientNet, Swin or ViT"
            )


def apply_layers(layers: Sequence[nn.Module], pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
    """Return the classifier's input features, given the pooled ones."""
    for layer in layers:
        pooled = layer(pooled[:, :, None, None]).flatten(1) if _wants_map(layer) else layer(pooled)
    return pooled


def pull_back(
    layers: Sequence[nn.Module], pooled: Float[Tensor, "B D"], cotangent: Float[Tensor, "B F"]
) -> Float[Tensor, "B D"]:
    """Return the gradient of `(cotangent * apply_layers(layers, pooled)).sum()` at the pooled features.

    Batch normalization uses its running statistics, whatever the mode.

    Args:
        layers: Layers behind the pooling, in order.
        pooled: Pooled features at which the gradient is taken.
        cotangent: Gradient at the classifier's input features, such as a class's row of its weights.

    Returns:
        The vector-Jacobian product in float32.
    """
    with torch.autocast(pooled.device.type, enabled=False):
        inputs = [pooled.float()]
        for layer in layers:
            inputs.append(_evaluate(layer, inputs[-1]))
        gradient = cotangent.float()
        for layer, given in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
            gradient = _pull_back_one(layer, given, gradient)
        return gradient


def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    """Evaluate one layer in evaluation mode and float32, without updating its statistics."""
    if isinstance(layer, nn.BatchNorm2d):
        mean, var = layer.running_mean, layer.running_var
        normal = functional.batch_norm(x, mean, var, layer.weight, layer.bias, training=False, eps=layer.eps)
        activated: Tensor = _activation(layer)(normal)
        return activated
    return apply_layers([layer], x.clone())  # an activation may work in place


def _pull_back_one(layer: nn.Module, x: Tensor, gradient: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return gradient @ layer.weight.float().flatten(1)
    if isinstance(layer, nn.LayerNorm):
        return _pull_back_layer_norm(layer, x, gradient)
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_var is not None
        assert layer.running_mean is not None
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        activation = _activation(layer)
        if type(activation).__name__ in DERIVATIVES:
            normal = (x - layer.running_mean) * scale + layer.bias
            gradient = gradient * DERIVATIVES[type(activation).__name__](normal)
        return gradient * scale
    if _is_scale(layer):
        return gradient * cast(Tensor, layer.scale)
    return gradient * DERIVATIVES[type(layer).__name__](x)


def _pull_back_layer_norm(layer: nn.LayerNorm, x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of a layer norm at its input.

    n = (x - mean) / deviation,  dx = (g - mean(g) - n * mean(g * n)) / deviation,  g the weighted gradient
    """
    weighted = gradient if layer.weight is None else gradient * layer.weight
    deviation = (x.var(1, unbiased=False, keepdim=True) + layer.eps).sqrt()
    normal = (x - x.mean(1, keepdim=True)) / deviation
    inner = weighted - weighted.mean(1, keepdim=True) - normal * (weighted * normal).mean(1, keepdim=True)
    return inner / deviation


def _activation(layer: nn.BatchNorm2d) -> nn.Module:
    """Return the activation inside timm's BatchNormAct2d; the identity for a plain BatchNorm2d."""
    activation = getattr(layer, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _is_linear(layer: nn.Module) -> bool:
    is_pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
    return isinstance(layer, nn.Linear) or is_pointwise


def _is_activation(layer: nn.Module) -> bool:
    return type(layer).__name__ in DERIVATIVES and getattr(layer, "approximate", "none") == "none"


def _is_norm(layer: nn.Module) -> bool:
    if isinstance(layer, nn.BatchNorm2d):
        activation = _activation(layer)
        return layer.track_running_stats and (_is_activation(activation) or is_passing(activation))
    return isinstance(layer, nn.LayerNorm)


def _is_scale(layer: nn.Module) -> bool:
    """Test if a layer is HGNetV2's: one factor and one offset for all channels."""
    return type(layer).__name__ == "LearnableAffineBlock"


def _wants_map(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.BatchNorm2d) or type(layer).__name__.startswith("LayerNorm2d")
