"""Probabilities out of logits."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def calibrated(logits: Float[Tensor, "*B C"], *, temperature: float) -> Float[Tensor, "*B C"]:
    """Return softmax(logits / temperature) in float32."""
    return functional.softmax(logits.float() / temperature, dim=-1)
