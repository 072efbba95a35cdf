"""An outline is the network that would be built, but for its memory."""

import pytest
import torch

from mge.models.outline import outlined
from tests.models.networks import BACKBONES, build


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_outline_has_the_names_shapes_and_types_of_the_network(backbone: str) -> None:
    with outlined():
        outline = build(backbone, num_experts=2, gate="own").state_dict()
    wanted = build(backbone, num_experts=2, gate="own").state_dict()
    assert all(tensor.is_meta for name, tensor in outline.items())
    assert [(name, tensor.shape, tensor.dtype) for name, tensor in outline.items()] == [
        (name, tensor.shape, tensor.dtype) for name, tensor in wanted.items()
    ]


def test_a_network_that_is_built_after_an_outline_has_its_weights() -> None:
    with outlined():
        build(num_experts=2)
    torch.testing.assert_close(build(num_experts=2).state_dict(), build(num_experts=2).state_dict())
    assert all(tensor.isfinite().all() for tensor in build(num_experts=2).state_dict().values())
