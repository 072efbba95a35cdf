"""Small networks and pictures for the tests of models."""

from typing import Any, cast

import torch
from torch import Tensor

from mge.models.expert import Expert
from mge.models.mixture import ExpertPass, MixtureOfExperts, create_model

SIZE = 64
CLASSES = 5
BACKBONES = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"]
SWIN = "swin_tiny_patch4_window7_224"


def build(
    backbone: str = "test_resnet", *, num_classes: int = CLASSES, num_experts: int = 3,
    **options: Any,  # noqa: ANN401
) -> MixtureOfExperts:  # fmt: skip
    """A mixture that is quick to run, in evaluation mode; the same numbers each time.

    Its attention is the paper's, and its threshold high, so that boxes are smaller than the view.
    """
    torch.manual_seed(1)
    quick = {
        "size": SIZE, "pretrained": False, "part_filters": 2, "cam_target": "class", "positive_weights": False,
        "box_method": "threshold", "attention_threshold": 0.6,
    }  # fmt: skip
    return create_model(backbone, num_classes=num_classes, experts=num_experts, **{**quick, **options}).eval()


def draw(count: int = 3, *, height: int = SIZE, width: int = SIZE) -> Tensor:
    """Noise on which a bright spot lies somewhere else in each picture."""
    torch.manual_seed(2)
    center = torch.rand(count, 2, 1, 1) * torch.tensor([height, width])[:, None, None]
    y, x = torch.arange(height)[:, None] - center[:, 0], torch.arange(width) - center[:, 1]
    spot = torch.exp(-(y.square() + x.square()) / (0.1 * height) ** 2)
    return torch.randn(count, 3, height, width) + 4 * spot.unsqueeze(1)


def expert_of(net: MixtureOfExperts, number: int) -> Expert:
    """One expert, typed."""
    return cast(Expert, net.experts[number])


def run_all_experts(net: MixtureOfExperts, pictures: Tensor, labels: Tensor | None = None) -> list[ExpertPass]:
    """All experts' turns, without gradients."""
    with torch.no_grad():
        return list(net.run_experts(pictures, labels))
