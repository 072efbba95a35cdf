"""Outputs of the networks, and the legend of shape letters.

B batch, E experts, C classes, D channels, H W pixels, h w cells of a feature map.
"""

from typing import NamedTuple

from torch import Tensor


class ExpertOutput(NamedTuple):
    """Output of one expert for one view."""

    large_logits: Tensor  # (B, C) large-part head: mean pool of the last stage
    part_logits: Tensor  # (B, C) small-part head: max pool of the part filters
    joint_logits: Tensor  # (B, C) both features, each scaled to unit length
    large_features: Tensor  # (B, F) input of the large-part head: the backbone's pooled features
    features: Tensor  # (B, D, h, w) the feature map before pooling, from which the attention map is computed
    logits: Tensor  # (B, C) the expert's logits: its joint logits, unless `fused_heads` selects others


class MixtureOutput(NamedTuple):
    """Output of the mixture for a batch, with the attention map and the box of each expert.

    The field names are also the names of the exported graph's outputs.
    """

    logits: Tensor  # (B, C) the mixture; log-probabilities where probabilities are mixed
    gate_probs: Tensor  # (B, E) gate weights of the experts; each row sums to 1
    large_logits: Tensor  # (B, E, C)
    part_logits: Tensor  # (B, E, C)
    joint_logits: Tensor  # (B, E, C) the experts' logits: `ExpertOutput.logits`
    attention: Tensor  # (B, E, h, w) each expert's map over its own view, in [0, 1]
    boxes_xyxy: Tensor  # (B, E, 4) region seen by each expert, in pixels of the input images, end-exclusive


class CascadeOutput(NamedTuple):
    """Output of the mixture with early exit.

    The fields of experts that did not run for a photo are NaN; in `gate_probs` they have the weight 0, and the others
    sum to 1.
    """

    mixture: MixtureOutput
    num_experts_run: Tensor  # (B,) number of experts that ran for each photo
