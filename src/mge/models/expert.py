"""An expert: a backbone with three heads."""

from jaxtyping import Float
from torch import Tensor, nn

from mge.config import ModelConfig
from mge.core.losses import fuse_heads
from mge.core.outputs import ExpertOutput
from mge.models.backbone import Backbone, FeatureMaps
from mge.models.heads import ClasswiseLinear, JointHead, PartFilters


class Expert(nn.Module):
    """Large-part features, small-part features, and a classifier on each and on both.

    Source: section 3.1 of the paper.

    Args:
        backbone: What gives the feature maps.
        config: The architecture of its heads: every option that begins with `part_`, none of them `auto`, and
            `fused_heads`. Without part filters there is no part and no joint head; their logits are those of the
            large-part head, and the expert is a plain network.
        num_classes: Number of classes C.
    """

    def __init__(self, backbone: Backbone, config: ModelConfig, *, num_classes: int) -> None:
        super().__init__()
        assert "auto" not in (config.part_filters, config.part_head), "MixtureOfExperts decides them"
        self.fused_heads = config.fused_heads
        self.backbone = backbone
        self.part_gradient = config.part_gradient
        self.large_head = nn.Linear(backbone.num_features, num_classes)
        self.part_filters: PartFilters | None = None
        if per_class := int(config.part_filters):
            classwise = config.part_head == "classwise"
            num_features = per_class * num_classes
            self.part_filters = PartFilters(
                backbone.part_width, num_features, padding=config.part_padding,
                is_normalized=config.part_norm == "batch",
            )  # fmt: skip
            self.part_head: nn.Module = (
                ClasswiseLinear(num_classes, per_class) if classwise else nn.Linear(num_features, num_classes)
            )
            self.joint_head = JointHead(backbone.num_features, per_class, num_classes, classwise=classwise)

    def forward(self, views: Float[Tensor, "B 3 H W"] | FeatureMaps) -> ExpertOutput:
        """Return the logits of the expert's three heads for normalised views, or for the features of its backbone."""
        maps = views if isinstance(views, FeatureMaps) else self.backbone(views)
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
        """Return channel weights of the map, given those of the pooled features; see `Backbone.pull_back`."""
        weights: Tensor = self.backbone.pull_back(features, cotangent)
        return weights
