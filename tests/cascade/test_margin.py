"""When a photo may leave: the mixture so far, how sure it is, and who looks."""

import numpy as np
import pytest
import torch

from mge.cascade.margin import NO_EXIT, exit_indices, prefix_gate, prefix_logits, top2_margin
from mge.config import Mix
from mge.core.losses import mix_experts
from tests import reference


# -------- the mixture so far
@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_mixture_so_far_is_the_mixture_of_the_first_experts(mix: Mix) -> None:
    joint, gate = torch.randn(4, 3, 5), torch.rand(4, 3).softmax(1)
    found = prefix_logits(joint, gate, mix=mix)
    for count in (1, 2, 3):
        weights = gate[:, :count].double() / gate[:, :count].double().sum(1, keepdim=True)
        expected = reference.mix_experts(joint[:, :count].double().numpy(), weights.numpy(), mix=mix)
        np.testing.assert_allclose(found[:, count - 1], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[:, -1], mix_experts(joint, gate, mix=mix))


def test_weights_so_far_by_hand() -> None:
    gate = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.25, 0.75], [0.0, 0.0, 1.0]])
    assert prefix_gate(gate, num_experts=1).tolist() == [[1.0], [1.0], [1.0]]
    torch.testing.assert_close(prefix_gate(gate, num_experts=2), torch.tensor([[2 / 3, 1 / 3], [0, 1], [0.5, 0.5]]))
    assert prefix_gate(gate, num_experts=3) is gate


def test_a_lead_is_the_share_of_the_likeliest_of_two_classes() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, 1.0986123]]])
    torch.testing.assert_close(top2_margin(logits), torch.tensor([[0.5, 0.75]]))
    many = torch.randn(3, 2, 7) * 5
    expected = [[reference.top2_margin(row) for row in rows] for rows in many.double().tolist()]
    torch.testing.assert_close(top2_margin(many), torch.tensor(expected))
    torch.testing.assert_close(top2_margin(many.log_softmax(-1)), top2_margin(many))  # as where probabilities are mixed


# -------- leaving
def test_a_photo_leaves_after_the_first_expert_that_is_sure_enough() -> None:
    margins = torch.tensor([[0.9, 0.1], [0.5, 0.9], [0.5, 0.5], [0.75, 0.9], [torch.nan, 0.9]])
    assert exit_indices(margins, [0.75, 0.875]).tolist() == [0, 1, 2, 0, 1]
    assert exit_indices(margins, [NO_EXIT, NO_EXIT]).tolist() == [2] * 5
    assert exit_indices(margins[:4], [0.0, 0.0]).tolist() == [0] * 4
    assert exit_indices(torch.empty(3, 0), []).tolist() == [0] * 3
