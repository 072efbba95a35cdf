"""Targets of losses, written out."""

from collections.abc import Sequence

import torch
from torch import Tensor


def one_hot(labels: Sequence[int] | Tensor, num_classes: int) -> Tensor:
    """Return float32 (B, C): 1 at each photo's class, 0 elsewhere."""
    return torch.eye(num_classes)[torch.as_tensor(labels)]
