"""Cost of a forward pass, independent of the machine."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from mge.models.mixture import MixtureOfExperts


class Cost(NamedTuple):
    """Cost of a network."""

    multiply_adds: int  # for one photo: products of convolutions and of matrices
    parameters: int


@torch.inference_mode()
def count_cost(model: MixtureOfExperts) -> Cost:
    """Count the multiply-adds of a mixture for one photo, and its parameters.

    Only convolutions, matrix products and attention layers are counted, which are nearly all of it: no pooling, no
    zoom, no normalisation.
    """
    side = model.config.photo_side
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(counter.get_total_flops() // 2, parameters)
