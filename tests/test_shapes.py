"""The tests see wrong shapes: jaxtyping's hook is at work."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from mge.core.crop import whole_boxes
from tests.shapes import says_shape


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="whole_boxes"):
        whole_boxes(torch.zeros(2, 2))


def test_a_hint_says_a_shape_wherever_it_stands() -> None:
    assert says_shape(Float[Tensor, "B C"])
    assert says_shape(list[Float[Tensor, "B C"] | None])
    assert not says_shape(dict[str, Tensor])
