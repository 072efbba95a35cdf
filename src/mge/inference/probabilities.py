"""Probabilities out of logits."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def calibrated(logits: Float[Tensor, "*B C"], *, temperature: float) -> Float[Tensor, "*B C"]:
    """Probabilities out of logits, at a temperature."""
    return functional.softmax(logits.float() / temperature, dim=-1)
