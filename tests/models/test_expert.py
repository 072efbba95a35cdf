"""One expert: its three answers."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from mge.config import ModelConfig
from mge.models.backbone import Backbone
from mge.models.expert import Expert
from tests.models.networks import BACKBONES, CLASSES, SIZE, draw


def make(
    backbone: str = "test_resnet", *, part_filters: int = 2, part_head: Literal["dense", "classwise"] = "dense"
) -> Expert:
    torch.manual_seed(1)
    features = Backbone(backbone, size=SIZE, pretrained=False)
    config = ModelConfig(experts=1, part_filters=part_filters, part_head=part_head, part_norm="none")
    return Expert(features, config, num_classes=CLASSES).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_expert_answers_three_times_whatever_its_backbone(backbone: str) -> None:
    expert = make(backbone)
    output = expert(draw(2))
    for logits in (output.large_logits, output.part_logits, output.joint_logits):
        assert logits.shape == (2, CLASSES)
        assert bool(logits.isfinite().all())
    assert output.large_features.shape == (2, expert.backbone.width)
    assert output.features.shape[:2] == (2, expert.backbone.width)


def test_the_three_answers_are_those_of_the_heads() -> None:
    expert, views = make(), draw(2)
    output, maps = expert(views), expert.backbone(views)
    assert expert.part_filters is not None
    part = expert.part_filters(maps.part)
    torch.testing.assert_close(output.features, maps.large)
    torch.testing.assert_close(output.large_features, maps.large.mean((2, 3)))
    torch.testing.assert_close(output.large_logits, expert.large_head(maps.large.mean((2, 3))))
    torch.testing.assert_close(output.part_logits, expert.part_head(part))
    torch.testing.assert_close(output.joint_logits, expert.joint_head(maps.large.mean((2, 3)), part))


def test_an_expert_without_part_filters_is_a_plain_network() -> None:
    expert = make(part_filters=0)
    output = expert(draw(2))
    assert torch.equal(output.part_logits, output.large_logits)
    assert torch.equal(output.joint_logits, output.large_logits)
    assert {name.split(".")[0] for name, _ in expert.named_parameters()} == {"backbone", "large_head"}


def test_a_classwise_expert_has_fewer_weights_than_a_dense_one() -> None:
    def count_of_heads(expert: Expert) -> int:
        return sum(
            p.numel() for name, p in expert.named_parameters() if name.startswith(("part_head", "joint_head.part"))
        )

    dense, classwise = count_of_heads(make()), count_of_heads(make(part_head="classwise"))
    assert dense == 2 * (2 * CLASSES * CLASSES) + CLASSES
    assert classwise == 2 * (2 * CLASSES) + 2 * CLASSES
    assert make(part_head="classwise")(draw(1)).joint_logits.shape == (1, CLASSES)


@pytest.mark.parametrize("part_head", ["dense", "classwise"])
def test_photos_do_not_see_each_other_in_evaluation(part_head: Literal["dense", "classwise"]) -> None:
    expert, views = make(part_head=part_head), draw(3)
    together = expert(views)
    for number in range(3):
        alone = expert(views[[number]])
        pairs: list[tuple[Tensor, Tensor]] = list(zip(alone, together, strict=True))
        for one, all_of_them in pairs:
            torch.testing.assert_close(one[0], all_of_them[number], rtol=1e-4, atol=1e-5)
