"""Early exit as exported graphs: one per expert, and one for the gate, so that later experts can be skipped.

A graph takes the outputs of the previous one as `former_…`: `boxes_xyxy` is the region seen by an expert, in pixels of
the images, `found_xyxy` the box it found, in pixels of its view, and `view` its view, if views are cropped from views.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mge.core.crop import whole_boxes
from mge.errors import ConfigError
from mge.exporting.graph import OUTPUTS, example_pictures
from mge.models.expert import Expert
from mge.models.mixture import MixtureOfExperts

SAID = ("large_logits", "part_logits", "joint_logits", "attention", "boxes_xyxy")  # of MixtureOutput, one expert's
PREVIOUS = "former_"  # prefix of inputs from the previous graph; ONNX requires unique names
STATE = {
    "found_xyxy": "(B, 4) box that it found, in pixels of its view",
    "large_features": "(B, D) input of a shared gate",
    "view": "(B, 3, h, w) its normalized view, from which the next view is cropped",
}


class CascadeGraph(NamedTuple):
    """One graph of a cascade, before its export."""

    network: nn.Module
    examples: dict[str, Tensor]  # inputs by name, in the order of its arguments
    outputs: dict[str, str]  # descriptions of its outputs by name


def cascade_parts(model: MixtureOfExperts) -> dict[str, CascadeGraph]:
    """Return the graphs of a cascade by the names of their files.

    Args:
        model: The mixture in evaluation mode, on the CPU. It is not modified.

    Raises:
        ConfigError: there is only one expert.
    """
    if model.active_experts < 2:
        raise ConfigError("the model has one expert, and early exit needs at least two; leave out --cascade")
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen.sampling = "matrices"  # as in to_graph
    images = example_pictures(frozen)
    with torch.no_grad():
        expert_pass = next(frozen.run_experts(frozen.normalize(images)))
    examples = {"images": images, PREVIOUS + "boxes_xyxy": expert_pass.boxes_xyxy.contiguous()}
    examples[PREVIOUS + "found_xyxy"] = expert_pass.next_boxes_xyxy
    if frozen.config.zoom_from == "previous":
        examples[PREVIOUS + "view"] = expert_pass.view
    said = {name: OUTPUTS[name].replace("(B, E, ", "(B, ") for name in SAID}
    kept = {name: STATE[name] for name in ("found_xyxy", "view") if PREVIOUS + name in examples}
    first = {**said, **kept, "large_features": STATE["large_features"]}
    parts = {"expert_0": CascadeGraph(FirstExpert(frozen), {"images": images}, first)}
    for number in range(1, frozen.active_experts):
        parts[f"expert_{number}"] = CascadeGraph(LaterExpert(frozen, number), examples, {**said, **kept})
    is_own = frozen.gate is not None and frozen.gate.backbone is not None
    features = {PREVIOUS + "large_features": expert_pass.output.large_features}
    gate = CascadeGraph(
        GateAlone(frozen), {"images": images} if is_own else features, {"gate_probs": OUTPUTS["gate_probs"]}
    )
    return {**parts, "gate": gate}


class FirstExpert(nn.Module):
    """Expert 0, which sees the whole image.

    Args:
        model: The mixture.
    """

    def __init__(self, model: MixtureOfExperts) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the expert, in the order named by its part."""
        expert_pass = next(self.model.run_experts(self.model.normalize(images)))
        output = expert_pass.output
        said = (output.large_logits, output.part_logits, output.logits, expert_pass.attention, expert_pass.boxes_xyxy)
        kept = (expert_pass.next_boxes_xyxy, *([expert_pass.view] if self.model.config.zoom_from == "previous" else []))
        return (*said, *kept, output.large_features)


class LaterExpert(nn.Module):
    """An expert that sees the box found by the previous one.

    Args:
        model: The mixture.
        number: Index of the expert.
    """

    def __init__(self, model: MixtureOfExperts, number: int) -> None:
        super().__init__()
        self.model, self.number = model, number

    def forward(self, images: Tensor, boxes: Tensor, found: Tensor, view: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the outputs of the expert, given the region and the box of the previous one."""
        pictures = self.model.normalize(images)
        # If views are cropped from the image, only the previous view's size matters.
        previous = self.model.first_view(pictures, whole_boxes(pictures)) if view is None else view
        seen, boxes = self.model.next_view(pictures, previous, boxes, found)
        expert = self.model.experts_in_turn[self.number]
        assert isinstance(expert, Expert)
        output = expert(seen)
        found, attention = self.model.attend(expert, output, None, size=(seen.shape[2], seen.shape[3]))
        kept = (found, *([seen] if view is not None else []))
        return (output.large_logits, output.part_logits, output.logits, attention, boxes, *kept)


class GateAlone(nn.Module):
    """The gate, on its own backbone's features of the whole image or on the first expert's.

    Args:
        model: The mixture.
    """

    def __init__(self, model: MixtureOfExperts) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_or_features: Tensor) -> Tensor:
        """Return the gate weights of the experts."""
        if images_or_features.dim() == 2:
            return self.model.weigh(images_or_features, images_or_features)  # a shared gate reads no image
        pictures = self.model.normalize(images_or_features)
        view = self.model.first_view(pictures, whole_boxes(pictures))
        return self.model.weigh(view, view.flatten(1))
