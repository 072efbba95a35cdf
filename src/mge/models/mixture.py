"""The mixture: experts in sequence, each on the region found by the previous one, and a gate."""

import dataclasses
import functools
import math
import re
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from mge.config import Channels, ModelConfig, PartHead, read_normalization, write_normalization
from mge.config.previous_names import previous_method
from mge.core.attention import (
    attention_map,
    channel_weights,
    expected_weights,
    moment_boxes,
    scale_to_unit,
    threshold_boxes,
)
from mge.core.crop import Sampling, compose_boxes, whole_boxes, zoom
from mge.core.losses import mix_experts
from mge.core.outputs import ExpertOutput, MixtureOutput
from mge.errors import ConfigError
from mge.models.backbone import Backbone, pretrained_input
from mge.models.expert import Expert
from mge.models.gate import Gate

MOST_PART_FILTERS, FEWEST_PART_FILTERS = 10, 4  # for each class
PART_FILTERS_IN_ALL = 400  # approximate total: each costs multiplications in every cell
DENSE_UP_TO = 500  # classes; the dense part head has as many weights for each pair of classes as part filters for each
PREVIOUS_SIGNATURE = (
    "MixtureOfExperts(BACKBONE, …) is deprecated and goes in the next release; use mge.create_model(BACKBONE, …), "
    "where num_experts is called experts, or MixtureOfExperts(ModelConfig(…), …)"
)


def choose_part_filters(num_classes: int) -> int:
    """Return the default number of part filters per class: 10 up to 42 classes, 4 from 89 on.

    Differs: the authors' program has 10 for each of 200 classes, whose multiplications are a tenth of a ResNet-50's.
    """
    return max(FEWEST_PART_FILTERS, min(MOST_PART_FILTERS, round(PART_FILTERS_IN_ALL / num_classes)))


class ExpertPass(NamedTuple):
    """The pass of one expert: its view, output, attention map and box."""

    view: Tensor  # (B, 3, h, w) its input
    output: ExpertOutput
    attention: Tensor  # (B, h, w) its map over its view, in [0, 1]
    boxes_xyxy: Tensor  # (B, 4) region of its view, in pixels of the input images
    next_boxes_xyxy: Tensor  # (B, 4) box around its attention, in pixels of its view


class MixtureOfExperts(nn.Module):
    """A mixture of granularity-specific experts.

        y = sum_t g_t * y^t    with y^t = expert_t(view_t) and view_{t+1} = zoom(image, box of expert t's attention map)

    Source: Zhang et al., "Learning a Mixture of Granularity-Specific Experts for Fine-Grained Categorization", ICCV
    2019.

    Args:
        config: The architecture. Its `auto` values are resolved here: `self.config` has none.
        num_classes: Number of classes C.
        pretrained: Whether backbones start from timm's pretrained weights.
        weights: File with backbone weights to start from instead.
        any_size: Whether a view has the side of the given images, divided by `config.zoom_resolution`, in place of
            `config.size`.
        previous_options: Options of the previous signature, `MixtureOfExperts("resnet50", num_classes=200, …)`.

    Raises:
        ConfigError: an option has an invalid value.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: ModelConfig | str, *, num_classes: int, pretrained: bool = True,
        weights: str | Path | None = None, any_size: bool = False, **previous_options: Any,  # noqa: ANN401
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(config, ModelConfig):
            warnings.warn(PREVIOUS_SIGNATURE, DeprecationWarning, stacklevel=2)
            any_size = previous_options.get("size") is None
            named = {"experts" if name == "num_experts" else name: value for name, value in previous_options.items()}
            config = _describe(config, **named)
        elif previous_options:
            unknown = ", ".join(previous_options)
            raise TypeError(f"MixtureOfExperts has no argument {unknown}; options of the network belong in ModelConfig")
        if num_classes < 2:
            raise ConfigError(f"num_classes is {num_classes}; accepted: at least 2")
        self.config = config = _resolve(config, num_classes=num_classes)
        mean, std = _find_normalization(config)
        self.num_classes = num_classes
        self.view_size = None if any_size else config.size
        self.active_experts = config.experts  # the progressive schedule starts with one
        self.sampling: Sampling = "grid"  # of the zooms; an exported graph has another
        build_backbone = functools.partial(
            Backbone, config.backbone, size=self.view_size, output_stride=config.output_stride, pretrained=pretrained,
            weights=weights, head_layers=config.head_layers,
        )  # fmt: skip
        shared = build_backbone() if config.share_backbone else None
        self.experts = nn.ModuleList(
            Expert(shared or build_backbone(), config, num_classes=num_classes)
            for _ in range(1 if config.share_experts else config.experts)
        )
        if config.share_backbone:
            self.register_state_dict_post_hook(_drop_copies)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_restore_copies)  # type: ignore[no-untyped-call]
        self.gate: Gate | None = None
        if config.experts > 1:
            gate_backbone = build_backbone() if config.gate == "own" else None
            width = cast(Expert, self.experts[0]).backbone.num_features
            self.gate = Gate(width, config.experts, backbone=gate_backbone)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Shaped[Tensor, "B 3 H W"], labels: Int[Tensor, " B"] | None = None) -> MixtureOutput:
        """Classify a batch.

        Args:
            images: Images; uint8 from 0 to 255, which are normalised here, or float, taken as normalised.
            labels: Classes whose attention the experts follow. None: the class that each expert predicts.

        Returns:
            Logits and maps of every expert, the gate, and the mixture. No field is left out in training.
        """
        return self.combine(list(self.run_experts(self.normalize(images), labels)))

    @property
    def experts_in_turn(self) -> list[Expert]:
        """The experts in the order in which they run; a shared one runs several times."""
        experts = cast(list[Expert], list(self.experts))
        return experts * self.config.experts if self.config.share_experts else experts

    def combine(self, passes: Sequence[ExpertPass]) -> MixtureOutput:
        """Combine the passes of the active experts into the mixture's output."""
        joint_logits = torch.stack([expert_pass.output.logits for expert_pass in passes], dim=1)
        gate_probs = self.weigh(passes[0].view, passes[0].output.large_features)
        return MixtureOutput(
            logits=mix_experts(joint_logits, gate_probs, mix=self.config.mix),
            gate_probs=gate_probs,
            large_logits=torch.stack([expert_pass.output.large_logits for expert_pass in passes], dim=1),
            part_logits=torch.stack([expert_pass.output.part_logits for expert_pass in passes], dim=1),
            joint_logits=joint_logits,
            attention=torch.stack([expert_pass.attention for expert_pass in passes], dim=1),
            boxes_xyxy=torch.stack([expert_pass.boxes_xyxy for expert_pass in passes], dim=1),
        )

    def measure_offset(self) -> None:
        """Set `attention_offset` to the measured offset of the first backbone; the authors' geometry has none."""
        if self.config.geometry == "pixels":
            backbone = next(module for module in self.modules() if isinstance(module, Backbone))
            self.config = dataclasses.replace(self.config, attention_offset=backbone.measure_offset())

    def normalize(self, images: Shaped[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Normalise uint8 images for the backbones; float images are returned unchanged."""
        if images.dtype != torch.uint8:
            return images
        return images.float().sub_(255 * self.mean).div_(255 * self.std)

    normalise = previous_method("normalise", now="normalize")

    def run_experts(
        self, pictures: Float[Tensor, "B 3 H W"], labels: Int[Tensor, " B"] | None = None, *,
        experts: Sequence[nn.Module] | None = None,
    ) -> Generator[ExpertPass, Tensor | None, None]:  # fmt: skip
        """Run the active experts one after the other.

        Nothing that one expert hands to the next carries a gradient, so the caller may call backward on each expert's
        loss, and drop its output, before the next one runs: one expert's activations are in memory at a time. (Python's
        `enumerate` and `zip` keep a reference to their last item.)

        Callers that `send` the row numbers of some photos (of the last pass) continue with these photos only.

        Args:
            pictures: Normalised images.
            labels: Classes whose attention the experts follow. None: the class that each expert predicts.
            experts: The experts as wrapped for several devices. None: the mixture's own.
        """
        boxes = whole_boxes(pictures)
        view = self.first_view(pictures, boxes)
        found: Tensor | None = None
        for expert in list(experts or self.experts_in_turn)[: self.active_experts]:
            if found is not None:
                view, boxes = self.next_view(pictures, view, boxes, found)
            output = expert(view)
            found, attention = self.attend(expert, output, labels, size=(view.shape[2], view.shape[3]))
            staying = yield ExpertPass(view, output, attention, boxes, found)
            del output
            if staying is not None:
                pictures, view, boxes, found = (each[staying] for each in (pictures, view, boxes, found))

    look = previous_method("look", now="run_experts")

    def weigh(
        self, first_view: Float[Tensor, "B 3 h w"], first_features: Float[Tensor, "B D"], *,
        gate: nn.Module | None = None,
    ) -> Float[Tensor, "B E"]:  # fmt: skip
        """Return the gate weights of the active experts; the experts receive no gradient.

        Args:
            first_view: View of expert 0, for a gate with a backbone of its own.
            first_features: Its large-part features, for a shared gate.
            gate: The gate as wrapped for several devices. None: the mixture's own.
        """
        gate = gate or self.gate
        if gate is None:
            return torch.ones(first_view.shape[0], 1, device=first_view.device)
        logits: Tensor = gate(first_view, first_features)
        return logits[:, : self.active_experts].float().softmax(1)

    @torch.no_grad()
    def attend(
        self, expert: nn.Module, output: ExpertOutput, labels: Tensor | None, *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the box that an expert found in its view, and its map scaled to [0, 1]."""
        config = self.config
        first = config.attention == "first"
        head = cast(nn.Linear, (self.experts[0] if first else expert).large_head)
        scores = head(output.large_features) if first else output.joint_logits
        cells = output.features.shape[2] * output.features.shape[3]
        pull_back = cast(Expert, expert).pull_back
        if labels is None and config.cam_target == "softmax":
            probs = scores.float().softmax(1)
            weights = expected_weights(head.weight, probs, num_cells=cells, positive=config.positive_weights)
            weights = pull_back(output.features, weights)
        else:
            followed = scores.argmax(1) if labels is None else labels
            weights = pull_back(output.features, channel_weights(head.weight, followed, num_cells=cells))
            weights = weights.relu() if config.positive_weights else weights
        maps = attention_map(output.features, weights)
        threshold, offset = config.attention_threshold, config.attention_offset
        if config.box_method == "moments":
            boxes = moment_boxes(maps, size=size, threshold=threshold, offset=offset)
        else:
            boxes = threshold_boxes(maps, size=size, threshold=threshold, geometry=config.geometry, offset=offset)
        return boxes, scale_to_unit(maps)

    @torch.no_grad()
    def first_view(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """Resize the whole image to the size of a view."""
        size = self._size_of_view(pictures)
        supersample = _reduction(pictures, size)
        if (size[0] * supersample, size[1] * supersample) == tuple(pictures.shape[2:]):
            return pictures if supersample == 1 else functional.avg_pool2d(pictures, supersample)
        return zoom(pictures, boxes, size=size, supersample=supersample, sampling=self.sampling)

    @torch.no_grad()
    def next_view(self, pictures: Tensor, view: Tensor, boxes: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """Return the view of the box that the previous expert found, and its box in pixels of the images."""
        size = (view.shape[2], view.shape[3])
        composed = compose_boxes(boxes, found, size=size)
        source, boxes = (view, found) if self.config.zoom_from == "previous" else (pictures, composed)
        supersample = 1 if source is view else _reduction(pictures, size)
        seen = zoom(
            source, boxes, size=size, geometry=self.config.geometry, supersample=supersample, sampling=self.sampling
        )
        return seen, composed

    def _size_of_view(self, pictures: Tensor) -> tuple[int, int]:
        if self.view_size is not None:
            return self.view_size, self.view_size
        height, width = pictures.shape[2:]
        return round(height / self.config.zoom_resolution), round(width / self.config.zoom_resolution)


def _drop_copies(model: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave the shared backbone out of a state dict for every expert but the first."""
    for name in [name for name in state if re.match(r"experts\.[1-9]\d*\.backbone\.", name.removeprefix(prefix))]:
        del state[name]


def _restore_copies(model: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Add the shared backbone of the first expert to a state dict for every other one."""
    first = f"{prefix}experts.0.backbone."
    of_first = {name.removeprefix(first): tensor for name, tensor in state.items() if name.startswith(first)}
    for number in range(1, len(cast(MixtureOfExperts, model).experts)):
        state |= {f"{prefix}experts.{number}.backbone.{name}": tensor for name, tensor in of_first.items()}


def _reduction(pictures: Tensor, size: tuple[int, int]) -> int:
    """Return the largest whole factor by which a view can reduce the image."""
    return max(1, math.ceil(pictures.shape[2] / size[0]), math.ceil(pictures.shape[3] / size[1]))


def create_model(
    backbone: str, *, num_classes: int, pretrained: bool = True, weights: str | Path | None = None,
    size: int | None = None, **options: Any,  # noqa: ANN401  (checked against ModelConfig, the one place that lists them)
) -> MixtureOfExperts:  # fmt: skip
    """Return a new mixture of experts on a timm backbone, as an `nn.Module`.

    Args:
        backbone: Name of a timm model.
        num_classes: Number of classes.
        pretrained: Whether backbones start from timm's pretrained weights.
        weights: File with backbone weights to start from instead.
        size: Side in pixels of the square view that every expert sees. None: the side of the images given, divided by
            `zoom_resolution`.
        options: Any other field of `mge.config.ModelConfig`, such as `experts`.

    Raises:
        ConfigError: an option is unknown or has a value that it cannot take, or there are no such weights.
    """
    return MixtureOfExperts(
        _describe(backbone, size=size, **options), num_classes=num_classes, pretrained=pretrained, weights=weights,
        any_size=size is None,
    )  # fmt: skip


def _describe(backbone: str, *, size: int | None = None, **options: Any) -> ModelConfig:  # noqa: ANN401
    """Return the configuration of a mixture, with the default size where none is given."""
    return ModelConfig.from_dict({"backbone": backbone, **options, **({} if size is None else {"size": size})})


def _find_normalization(config: ModelConfig) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of the input, those of the pretrained weights where they are `auto`."""
    return read_normalization(config.normalization) or pretrained_input(config.backbone)[:2]


def _resolve(config: ModelConfig, *, num_classes: int) -> ModelConfig:
    """Return the configuration with its `auto` values resolved by the number of classes and the backbone."""
    part_head: PartHead = "dense" if num_classes <= DENSE_UP_TO else "classwise"
    return dataclasses.replace(
        config,
        part_filters=choose_part_filters(num_classes) if config.part_filters == "auto" else config.part_filters,
        part_head=part_head if config.part_head == "auto" else config.part_head,
        normalization=write_normalization(*_find_normalization(config)),
    )
