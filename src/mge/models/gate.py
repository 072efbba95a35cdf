"""The gate, which predicts the weight of each expert for a photo."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from mge.models.backbone import Backbone

HIDDEN_WIDTH = 512  # the authors' program


class Gate(nn.Module):
    """Two linear layers on a photo's pooled features; the mixture applies the softmax.

        g = softmax(W_2 (W_1 f + b_1) + b_2)

    Source: g_t of the paper, section 3.4; the two layers without a non-linearity between are the authors' program.

    Args:
        width: Number of features.
        num_experts: Number of experts E.
        backbone: A backbone for the gate alone. None: it reads the features of the first expert.
    """

    def __init__(self, width: int, num_experts: int, *, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = nn.Sequential(nn.Linear(width, HIDDEN_WIDTH), nn.Linear(HIDDEN_WIDTH, num_experts))
        self.start_uniform()

    def start_uniform(self) -> None:
        """Initialise the last layer to zero, so that all experts start with equal weights.

        Differs: neither paper nor program specifies the initial gate. One that favours the first expert, the only one
            it knew, takes longer to adapt than a short stage lasts.
        """
        last = cast(nn.Linear, self.layers[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, first_view: Float[Tensor, "B 3 H W"], first_features: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B E"]:
        """Return the gate's logits. The first expert receives no gradient.

        Args:
            first_view: View of the first expert: the whole photo.
            first_features: Its large-part features.
        """
        features = first_features.detach() if self.backbone is None else self.backbone(first_view).pooled
        logits: Tensor = self.layers(features)
        return logits
