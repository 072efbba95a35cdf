"""An expert's backbone and classifier as a folder that timm loads, without MGE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor

from mge.errors import ConfigError, ExportError
from mge.models.backbone import create_network
from mge.models.expert import Expert

TOLERANCE = 1e-3  # largest accepted difference of features and logits, relative to the largest value
WEIGHTS = "model.safetensors"
NUM_CHECKED = 2  # views of noise


class ViewInput(NamedTuple):
    """Views that a network was trained on."""

    side: int  # pixels
    mean: tuple[float, ...]  # of red, green and blue, from 0 to 1
    std: tuple[float, ...]
    interpolation: str
    crop_fraction: float


@torch.no_grad()
def write_timm_folder(
    expert: Expert, folder: Path, *, class_names: Sequence[str], given: ViewInput, fixed_side: int | None,
    output_stride: int,
) -> str:  # fmt: skip
    """Write backbone and large-part head as timm's own network: `config.json` and `model.safetensors`.

    Args:
        expert: The expert, in evaluation mode.
        folder: Folder to create.
        class_names: Names of the classes.
        given: The views that it was trained on.
        fixed_side: Side that networks of a fixed size were built for; None: their own.
        output_stride: Stride that the backbone was built with; 0: its own.

    Returns:
        Name of the network in timm.

    Raises:
        ConfigError: timm's network has other layers between backbone and classifier.
        ExportError: timm's network has other features or logits; the folder is incomplete.
    """
    backbone, num_classes = expert.backbone, len(class_names)
    net = create_network(backbone.name, size=fixed_side, output_stride=output_stride, num_classes=num_classes)
    net.load_state_dict(_complete(expert, net))
    net.eval()
    views = torch.randn(NUM_CHECKED, 3, given.side, given.side, generator=torch.Generator().manual_seed(0))
    features = net.forward_head(net.forward_features(views), pre_logits=True)
    _check_equal(backbone(views).pooled, features, what="features", name=backbone.name)
    _check_equal(expert(views).large_logits, net(views), what="logits", name=backbone.name)
    timm.models.save_for_hf(
        net, str(folder), model_config={"label_names": list(class_names)}, safe_serialization=True,
        data_config={
            "input_size": (3, given.side, given.side), "mean": given.mean, "std": given.std,
            "interpolation": given.interpolation, "crop_pct": given.crop_fraction,
        },
    )  # fmt: skip
    return backbone.name


def _complete(expert: Expert, net: Any) -> dict[str, Tensor]:  # noqa: ANN401  (timm's models share no type)
    """Return the weights of timm's network: those of the backbone, and the large-part head as its classifier."""
    state, wanted = dict(expert.backbone.net.state_dict()), net.state_dict()
    head = expert.large_head
    lacking = [key for key in wanted if key not in state]
    ends = {key.rpartition(".")[2]: key for key in lacking}
    if len(lacking) != 2 or set(ends) != {"weight", "bias"} or wanted[ends["weight"]].numel() != head.weight.numel():
        raise ConfigError(
            f"format is 'timm', and {expert.backbone.name} has other layers before its classifier than this model has; "
            "accepted: models with head_layers=pretrained on a network with one linear classifier; use --format onnx"
        )
    state[ends["weight"]] = head.weight.reshape(wanted[ends["weight"]].shape)
    state[ends["bias"]] = head.bias
    return {key: state[key].detach().float().cpu().contiguous() for key in wanted}


def _check_equal(ours: Tensor, theirs: Tensor, *, what: str, name: str) -> None:
    difference = (ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-9)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the {what} of timm's {name} differ from the model's by {difference:.2g} of their size; accepted: up to "
            f"{TOLERANCE:g}; use --format onnx"
        )
