"""One expert: a backbone and its three heads."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mge.config import FusedHeads, PartNorm
from mge.core.losses import fuse_heads
from mge.core.outputs import ExpertOutput
from mge.models.backbone import Backbone
from mge.models.heads import ClasswiseLinear, JointHead, PartFilters


class Expert(nn.Module):
    """Large-part features, small-part features, and a classifier on each and on both.

    Source: section 3.1 of the paper.

    Args:
        backbone: What gives the feature maps.
        num_classes: Number of classes C.
        part_filters: Number of part filters for each class. 0: no part and no joint head; their logits are those of the
            large-part head, and the expert is a plain network.
        part_padding: Zero cells around the feature map before the part filters.
        part_head: `dense`: each class reads the part features of all classes, as in the paper. `classwise`: its own
            only.
        part_norm: Whether the part filters read features normalised by `batch` statistics, or as they are (`none`).
        part_gradient: Whether the part and joint heads train the backbone.
        fused_heads: Heads that it answers with; see `fuse_heads`.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, part_filters: int = 10, part_padding: int = 0,
        part_head: Literal["dense", "classwise"] = "dense", part_norm: PartNorm = "none", part_gradient: bool = True,
        fused_heads: FusedHeads = "joint",
    ) -> None:  # fmt: skip
        super().__init__()
        self.fused_heads = fused_heads
        self.backbone = backbone
        self.part_gradient = part_gradient
        self.large_head = nn.Linear(backbone.num_features, num_classes)
        self.part_filters: PartFilters | None = None
        if part_filters:
            classwise = part_head == "classwise"
            num_features = part_filters * num_classes
            self.part_filters = PartFilters(
                backbone.part_width, num_features, padding=part_padding, is_normalized=part_norm == "batch"
            )
            self.part_head: nn.Module = (
                ClasswiseLinear(num_classes, part_filters) if classwise else nn.Linear(num_features, num_classes)
            )
            self.joint_head = JointHead(backbone.num_features, part_filters, num_classes, classwise=classwise)

    def forward(self, views: Float[Tensor, "B 3 H W"]) -> ExpertOutput:
        """The expert's three answers about normalised views."""
        maps = self.backbone(views)
        large = maps.pooled
        large_logits = self.large_head(large)
        if self.part_filters is None:
            return ExpertOutput(large_logits, large_logits, large_logits, large, maps.large, large_logits)
        if self.part_gradient:
            part = self.part_filters(maps.part)
            joint_logits = self.joint_head(large, part)
        else:
            part = self.part_filters(maps.part.detach())
            joint_logits = self.joint_head(large.detach(), part.detach())
        part_logits = self.part_head(part)
        logits = fuse_heads(large_logits, part_logits, joint_logits, heads=self.fused_heads)
        return ExpertOutput(large_logits, part_logits, joint_logits, large, maps.large, logits)

    def pull_back(self, features: Float[Tensor, "B D h w"], cotangent: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        """Return channel weights of the map from those of the pooled features; see `Backbone.pull_back`."""
        weights: Tensor = self.backbone.pull_back(features, cotangent)
        return weights
