"""What the networks return, and the legend of shape letters.

B batch, E experts, C classes, D channels, H W pixels, h w cells of a feature map.
"""

from typing import NamedTuple

from torch import Tensor


class ExpertOutput(NamedTuple):
    """One expert's answer about one view."""

    large_logits: Tensor  # (B, C) large-part head: mean pool of the last stage
    part_logits: Tensor  # (B, C) small-part head: max pool of the part filters
    joint_logits: Tensor  # (B, C) both features, each scaled to unit length
    large_features: Tensor  # (B, F) what the large-part head reads: the backbone's pooled features
    features: Tensor  # (B, D, h, w) the map that was pooled, out of which the attention map is made
    logits: Tensor  # (B, C) the expert's answer: its joint logits, unless `fused_heads` says otherwise


class MixtureOutput(NamedTuple):
    """What the mixture says about a batch, and where each expert looked.

    The field names are also the names of the exported graph's outputs.
    """

    logits: Tensor  # (B, C) the mixture; log-probabilities where probabilities are mixed
    gate_probs: Tensor  # (B, E) how much each expert counts; each row sums to 1
    large_logits: Tensor  # (B, E, C)
    part_logits: Tensor  # (B, E, C)
    joint_logits: Tensor  # (B, E, C) the experts' answers: `ExpertOutput.logits`
    attention: Tensor  # (B, E, h, w) each expert's map over its own view, in [0, 1]
    boxes_xyxy: Tensor  # (B, E, 4) what each expert saw, in pixels of the pictures given, end-exclusive


class CascadeOutput(NamedTuple):
    """What the mixture says where a photo leaves as soon as the experts are sure.

    The fields of experts that did not look at a photo are NaN; in `gate_probs` they count 0, and the others 1 together.
    """

    mixture: MixtureOutput
    num_experts_run: Tensor  # (B,) how many experts looked at each photo
