"""What networks return: the fields are a contract with exported graphs and with users' scripts."""

import torch
from torch.utils import _pytree as pytree

from mge.core.outputs import ExpertOutput, MixtureOutput


def test_the_fields_of_a_mixtures_output_are_those_of_exported_graphs() -> None:
    assert MixtureOutput._fields == (
        "logits",
        "gate_probs",
        "large_logits",
        "part_logits",
        "joint_logits",
        "attention",
        "boxes_xyxy",
    )


def test_the_fields_of_an_experts_output_keep_their_order() -> None:
    heads = ("large_logits", "part_logits", "joint_logits")
    assert ExpertOutput._fields == (*heads, "large_features", "features", "logits")


def test_outputs_are_trees_of_tensors_that_keep_their_type() -> None:
    for kind in (ExpertOutput, MixtureOutput):
        output = kind(*(torch.full((2,), float(number)) for number in range(len(kind._fields))))
        doubled = pytree.tree_map(lambda tensor: 2 * tensor, output)
        assert type(doubled) is kind
        assert [float(tensor[0]) for tensor in doubled] == [2.0 * number for number in range(len(kind._fields))]
