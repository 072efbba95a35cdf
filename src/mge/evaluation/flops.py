"""What an answer costs, whatever the machine."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from mge.models.mixture import MixtureOfExperts


class Cost(NamedTuple):
    """What a network takes."""

    multiply_adds: int  # for one photo: products of convolutions and of matrices
    parameters: int


@torch.inference_mode()
def count_cost(model: MixtureOfExperts) -> Cost:
    """Counts what a mixture computes for one photo, and its weights.

    Only convolutions, matrix products and attention layers are counted, which are nearly all of it: no pooling, no
    zoom, no normalisation.
    """
    side = model.config.photo_side
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(counter.get_total_flops() // 2, parameters)
