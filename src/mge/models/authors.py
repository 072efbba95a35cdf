"""Conversion of the authors' checkpoints (github.com/lbzhang/MGE-CNN) to our network, tensor by tensor."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from mge.config import ModelConfig, split_options
from mge.errors import ModelFolderError
from mge.models.mixture import MixtureOfExperts
from mge.models.outline import outlined

EXPERTS = 3  # hard-coded by suffix in their program
PART_FILTERS = 10  # for each class, a constant of their program
BLOCKS_OF_STAGE_3 = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
BACKBONE_SUFFIXES = {"experts.0.": "", "experts.1.": "_box", "experts.2.": "_box_2", "gate.": "_gate"}
PART_SUFFIXES = {"experts.0.": "", "experts.1.": "_1", "experts.2.": "_2"}
STAGES = {
    "conv1.": "conv4{}.0.",
    "bn1.": "conv4{}.1.",
    "layer1.": "conv4{}.4.",
    "layer2.": "conv4{}.5.",
    "layer3.": "conv4{}.6.",
    "layer4.": "conv5{}.",
}
UNUSED = "cls_cat_a."  # a layer that their program creates and never calls


def from_authors(state_dict: Mapping[str, Any]) -> MixtureOfExperts:
    """Convert the state dict of the authors' program to a mixture with all their settings.

    Float images are taken as already normalised; uint8 images are normalised with the authors' mean and standard
    deviation of 0.5.

    Args:
        state_dict: State dict of their program, also inside a training checkpoint, with or without `module.` before
            the names. ResNet-50, -101 and -152 are recognised, with any number of classes.

    Returns:
        The network on the CPU, in training mode like any new module.

    Raises:
        ModelFolderError: a tensor is missing, unexpected, or of another shape or type.

    Source: the authors' program; `docs/deviations.md` lists its differences from the paper.
    """
    given = _unwrap(state_dict)
    num_classes = _count_classes(given)
    config = authors_config(_recognize_backbone(given))
    with outlined():  # shapes only: a mismatch is found before anything large is allocated
        outline = MixtureOfExperts(config, num_classes=num_classes, pretrained=False)
    _check_fit(given, expected=_expected_tensors(outline), num_classes=num_classes)
    model = MixtureOfExperts(config, num_classes=num_classes, pretrained=False)
    model.load_state_dict({key: _take(given, key, like=tensor) for key, tensor in outline.state_dict().items()})
    return model


def authors_config(backbone: str = "resnet50") -> ModelConfig:
    """Return the architecture of the authors' program: the preset `authors` without a tag of pretrained weights."""
    fixed = {"backbone": backbone, "experts": EXPERTS, "part_filters": PART_FILTERS}
    return split_options(fixed, preset="authors")[0]


def authors_key(key: str) -> str:
    """Return the authors' name of one of our tensors; the two halves of a joint head are one tensor of theirs."""
    return next(theirs + key.removeprefix(ours) for ours, theirs in _prefixes() if key.startswith(ours))


def _prefixes() -> Iterator[tuple[str, str]]:
    """Yield the prefixes of our tensor names and of theirs."""
    for owner, suffix in BACKBONE_SUFFIXES.items():
        for ours, theirs in STAGES.items():
            yield f"{owner}backbone.net.{ours}", theirs.format(suffix)
    for owner, suffix in PART_SUFFIXES.items():
        yield f"{owner}large_head.", f"classifier{BACKBONE_SUFFIXES[owner]}.fc."
        yield f"{owner}part_filters.filters.", f"conv6{suffix}."
        yield f"{owner}part_head.", f"cls_part{suffix}.fc."
        yield f"{owner}joint_head.large.", f"cls_cat{suffix}.fc."
        yield f"{owner}joint_head.part.", f"cls_cat{suffix}.fc."
    for layer in ("0", "1"):
        yield f"gate.layers.{layer}.", f"cls_gate.{layer}.fc."


def _unwrap(checkpoint: object) -> dict[str, Tensor]:
    """Return the tensors by the names of the authors' program."""
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get("state_dict"), Mapping):
        checkpoint = checkpoint["state_dict"]
    hint = "give the authors' state dict, or a training checkpoint with one under 'state_dict'"
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise ModelFolderError(f"the checkpoint holds a {type(checkpoint).__name__} without tensors; {hint}")
    for key, value in checkpoint.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ModelFolderError(f"entry {key!r} of the checkpoint is of the type {kind}; expected a tensor: {hint}")
    state = cast(Mapping[str, Tensor], checkpoint)
    is_parallel = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if is_parallel else key: tensor for key, tensor in state.items()}


def _count_classes(state: Mapping[str, Tensor]) -> int:
    classifier = state.get("classifier.fc.weight")
    if classifier is None:
        raise ModelFolderError(
            "the checkpoint has no 'classifier.fc.weight'; expected one of the authors' program with its three experts"
        )
    if classifier.ndim != 2 or len(classifier) < 2:
        raise ModelFolderError(
            f"'classifier.fc.weight' has the shape {list(classifier.shape)}; expected one row per class, for 2 or more "
            "classes"
        )
    return len(classifier)


def _recognize_backbone(state: Mapping[str, Tensor]) -> str:
    blocks = {key.split(".")[2] for key in state if key.startswith("conv4.6.") and key.count(".") > 2}
    has_bottlenecks = "conv4.4.0.conv3.weight" in state
    backbone = BLOCKS_OF_STAGE_3.get(len(blocks)) if has_bottlenecks else None
    if backbone is None:
        kind = "bottleneck" if has_bottlenecks else "no bottleneck"
        accepted = ", ".join(f"{name} ({count})" for count, name in BLOCKS_OF_STAGE_3.items())
        raise ModelFolderError(
            f"the checkpoint's backbone has {len(blocks)} blocks in stage 3 ('conv4.6') and {kind} blocks; accepted: a "
            f"ResNet with bottleneck blocks, {accepted}"
        )
    return backbone


def _expected_tensors(outline: MixtureOfExperts) -> dict[str, tuple[list[int], bool]]:
    """Return the expected shape of each tensor by name, and whether it is floating-point."""
    expected: dict[str, tuple[list[int], bool]] = {}
    for key, tensor in outline.state_dict().items():
        name, shape = authors_key(key), list(tensor.shape)
        if name in expected:  # the part half of a joint head follows its large half
            shape = [shape[0], expected[name][0][1] + shape[1]]
        expected[name] = (shape, tensor.is_floating_point())
    return expected


def _check_fit(
    given: Mapping[str, Tensor], *, expected: Mapping[str, tuple[list[int], bool]], num_classes: int
) -> None:
    """Raise ModelFolderError unless the tensors are exactly those that the network needs."""
    missing = [key for key in expected if key not in given and not _is_count(key)]
    if missing:
        raise ModelFolderError(
            f"the checkpoint lacks {len(missing)} of {len(expected)} tensors, the first is {missing[0]!r}; expected a "
            "whole checkpoint of the authors' program with its three experts and gate"
        )
    unexpected = [key for key in given if key not in expected and not key.startswith(UNUSED)]
    if unexpected:
        raise ModelFolderError(
            f"the checkpoint holds unexpected tensors: {len(unexpected)}, the first is {unexpected[0]!r}; expected "
            "what the authors' program saves and nothing else"
        )
    for key, (shape, is_float) in expected.items():
        tensor = given.get(key)
        if tensor is not None and (list(tensor.shape) != shape or tensor.is_floating_point() != is_float):
            kind = "float" if is_float else "integer"
            raise ModelFolderError(
                f"{key!r} of the checkpoint is {tensor.dtype} of shape {list(tensor.shape)}; expected {kind} of shape "
                f"{shape} for the {num_classes} classes of 'classifier.fc.weight'"
            )


def _take(given: Mapping[str, Tensor], key: str, *, like: Tensor) -> Tensor:
    """Extract one of our tensors from theirs."""
    name = authors_key(key)
    if name not in given and _is_count(name):
        return torch.zeros(like.shape, dtype=like.dtype)
    width = like.shape[1] if like.ndim == 2 else 0
    if key.endswith("joint_head.large.weight"):
        return given[name][:, :width]
    return given[name][:, -width:] if key.endswith("joint_head.part.weight") else given[name]


def _is_count(key: str) -> bool:
    """Test for a batch norm's number of batches, which old PyTorch did not save and nothing here reads."""
    return key.endswith(".num_batches_tracked")
