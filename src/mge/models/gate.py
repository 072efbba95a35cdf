"""The gate: how much each expert counts for a photo."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from mge.models.backbone import Backbone

HIDDEN_WIDTH = 512  # the authors' program


class Gate(nn.Module):
    """Two linear layers on a photo's pooled features; the softmax is left to the mixture.

    Source: section 3.4 of the paper; the two layers without a non-linearity between are the authors' program.

    Args:
        width: Number of features.
        num_experts: Number of experts E.
        backbone: A backbone of the gate's own. None: it reads the features of the first expert.
    """

    def __init__(self, width: int, num_experts: int, *, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN_WIDTH), nn.Linear(HIDDEN_WIDTH, num_experts))
        self.start_even()

    def start_even(self) -> None:
        """Lets all experts count the same, until learning says otherwise.

        Differs: neither paper nor program says how a gate starts. One that leans to the first expert, the only one it
        knew, needs longer to change its mind than a short stage lasts.
        """
        last = cast(nn.Linear, self.layers[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, first_view: Float[Tensor, "B 3 H W"], first_features: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B E"]:
        """The gate's logits. The first expert receives no gradient.

        Args:
            first_view: What the first expert saw: the whole photo.
            first_features: Its large-part features.
        """
        features = first_features.detach() if self.backbone is None else self.backbone(first_view).pooled
        logits: Tensor = self.layers(features)
        return logits
