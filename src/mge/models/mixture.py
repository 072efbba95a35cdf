"""The mixture: experts one after the other, each looking where the former one found something, and a gate."""

import dataclasses
import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self, cast

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from mge.config import (
    Attention,
    AttentionTo,
    BoxShape,
    FusedHeads,
    Geometry,
    HeadLayers,
    Mix,
    ModelConfig,
    PartHead,
    PartNorm,
    ZoomFrom,
    read_normalization,
    write_normalization,
)
from mge.config import Gate as GateChoice
from mge.core.attention import (
    attention_boxes,
    attention_map,
    channel_weights,
    expected_weights,
    scale_to_unit,
    spread_boxes,
)
from mge.core.crop import Sampling, compose_boxes, whole_boxes, zoom
from mge.core.losses import mix_experts
from mge.core.outputs import ExpertOutput, MixtureOutput
from mge.errors import ConfigError
from mge.models.backbone import Backbone, pretrained_input
from mge.models.expert import Expert
from mge.models.gate import Gate

MOST_PART_FILTERS, FEWEST_PART_FILTERS = 10, 4  # for each class
PART_FILTERS_IN_ALL = 400  # about as many: each costs multiplications in every cell
DENSE_UP_TO = 500  # classes; the dense part head has as many weights for each pair of classes as part filters for each


def choose_part_filters(num_classes: int) -> int:
    """Part filters for each class where nobody says: 10 up to 42 classes, from 89 on 4.

    Differs: the authors' program has 10 for each of 200 classes, whose multiplications are a tenth of a ResNet-50's.
    """
    return max(FEWEST_PART_FILTERS, min(MOST_PART_FILTERS, round(PART_FILTERS_IN_ALL / num_classes)))


class ExpertPass(NamedTuple):
    """One expert's turn: what it saw, what it said, where it looked."""

    view: Tensor  # (B, 3, h, w) what it saw
    output: ExpertOutput
    attention: Tensor  # (B, h, w) its map over its view, in [0, 1]
    boxes_xyxy: Tensor  # (B, 4) what it saw, in pixels of the pictures given
    next_boxes_xyxy: Tensor  # (B, 4) what it found, in pixels of its view


class MixtureOfExperts(nn.Module):
    """A mixture of granularity-specific experts.

    Source: Zhang et al., "Learning a Mixture of Granularity-Specific Experts for Fine-Grained Categorization", ICCV
    2019.

    Args:
        backbone: Name of a timm model.
        num_classes: Number of classes C.
        num_experts: Number of experts E. 1 is a single network.
        pretrained: Whether backbones start from timm's pretrained weights.
        weights: File with backbone weights to start from instead.
        share_experts: Whether all experts are one network.
        size: Side in pixels of the square view that every expert sees. None: the side of the pictures given, divided by
            `detail`.
        detail: How many times larger than a view the pictures are, where `size` does not say.
        output_stride: Pixels of a view for each cell of the last feature map. 0 leaves it to the backbone.
        zoom_from: Whether views are cut out of the `photo` (one resampling), or out of the `previous` view.
        geometry: `pixels`, or `authors` for the aligned corners and dropped last rows of their program.
        attention: Whether each expert's `own` classifier weights its map, or the `first` expert's all of them.
        attention_to: Whether a map shows the evidence for one `class`, or for each as much as the expert believes in it
            (`belief`).
        positive_weights: Whether negative channel weights become 0.
        box: Whether boxes are the `extent` of what lies above the threshold, or follow its `spread`.
        attention_threshold: Fraction of a map's range from which a point lies inside the box.
        attention_offset: Pixels of a view by which what a cell sees lies right of and below the cell.
        part_filters: Part filters for each class, or `auto`; see `choose_part_filters`. 0 (one expert only) is a plain
            network.
        part_padding: Zero cells around the map that the part filters read.
        part_head: `dense` as in the paper, `classwise`, or `auto`: dense for up to 500 classes.
        part_norm: Whether part filters read features normalised by `batch` statistics, or as they are (`none`).
        part_gradient: Whether the part and joint heads train the backbones.
        fused_heads: Heads that each expert answers with; see `fuse_heads`.
        head_layers: Whether the `pretrained` layers between the last stage and the classifier are kept (`none`: not).
        gate: Whether the gate has a backbone of its `own` or reads the first expert's features (`shared`).
        mix: Whether the gate weighs `logits` or probabilities (`probs`).
        normalisation: Mean and standard deviation that uint8 pictures are scaled with; see `ModelConfig`.

    Raises:
        ConfigError: an option has a value that it cannot take.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, *, num_classes: int, num_experts: int = 3, pretrained: bool = True,
        weights: str | Path | None = None, share_experts: bool = False, size: int | None = None, detail: float = 1.0,
        output_stride: int = 0, zoom_from: ZoomFrom = "photo", geometry: Geometry = "pixels",
        attention: Attention = "own", attention_to: AttentionTo = "belief", positive_weights: bool = True,
        box: BoxShape = "spread", attention_threshold: float = 0.3, attention_offset: float = 0.0,
        part_filters: int | Literal["auto"] = "auto", part_padding: int = 0,
        part_head: PartHead = "auto", part_norm: PartNorm = "batch", part_gradient: bool = True,
        fused_heads: FusedHeads = "joint", head_layers: HeadLayers = "pretrained", gate: GateChoice = "shared",
        mix: Mix = "logits", normalisation: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"num_classes is {num_classes}; accepted: at least 2")
        mean, std = read_normalization(normalisation) or pretrained_input(backbone)[:2]
        num_parts = choose_part_filters(num_classes) if part_filters == "auto" else part_filters
        self.config = ModelConfig(
            backbone=backbone, experts=num_experts, share_experts=share_experts, size=size or 448, detail=detail,
            output_stride=output_stride, zoom_from=zoom_from, geometry=geometry, attention=attention,
            attention_to=attention_to, positive_weights=positive_weights, box=box,
            attention_threshold=attention_threshold, attention_offset=attention_offset, part_filters=num_parts,
            part_padding=part_padding, part_head=part_head, part_norm=part_norm, part_gradient=part_gradient,
            fused_heads=fused_heads, head_layers=head_layers, gate=gate, mix=mix,
            normalisation=write_normalization(mean, std),
        )  # fmt: skip
        self.num_classes = num_classes
        self.view_size = size
        self.active_experts = num_experts  # the progressive schedule starts with one
        self.sampling: Sampling = "grid"  # of the zooms; an exported graph has another
        part_kind = part_head if part_head != "auto" else "dense" if num_classes <= DENSE_UP_TO else "classwise"

        def build_backbone() -> Backbone:
            return Backbone(
                backbone, size=size, output_stride=output_stride, pretrained=pretrained, weights=weights,
                head_layers=head_layers,
            )  # fmt: skip

        self.experts = nn.ModuleList(
            Expert(
                build_backbone(), num_classes=num_classes, part_filters=num_parts, part_padding=part_padding,
                part_head=part_kind, part_norm=part_norm, part_gradient=part_gradient, fused_heads=fused_heads,
            )
            for _ in range(1 if share_experts else num_experts)
        )  # fmt: skip
        self.gate: Gate | None = None
        if num_experts > 1:
            gate_backbone = build_backbone() if gate == "own" else None
            self.gate = Gate(cast(Expert, self.experts[0]).backbone.num_features, num_experts, backbone=gate_backbone)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, num_classes: int, pretrained: bool = False, weights: str | Path | None = None
    ) -> Self:
        """The network that a stored or typed configuration describes."""
        options = config.to_dict()
        return cls(
            options.pop("backbone"), num_classes=num_classes, num_experts=options.pop("experts"),
            pretrained=pretrained, weights=weights, **options,
        )  # fmt: skip

    def forward(self, images: Shaped[Tensor, "B 3 H W"], labels: Int[Tensor, " B"] | None = None) -> MixtureOutput:
        """Classifies a batch.

        Args:
            images: Pictures; uint8 from 0 to 255, which are normalised here, or float, taken as normalised.
            labels: Whose attention the experts follow. None: the class that each expert predicts.

        Returns:
            Every expert's answers and maps, the gate, and the mixture. No field is left out in training.
        """
        return self.combine(list(self.run_experts(self.normalize(images), labels)))

    @property
    def experts_in_turn(self) -> list[Expert]:
        """The experts in the order in which they look; one that is shared looks several times."""
        experts = cast(list[Expert], list(self.experts))
        return experts * self.config.experts if self.config.share_experts else experts

    def combine(self, passes: Sequence[ExpertPass]) -> MixtureOutput:
        """The mixture's answer out of the turns of its active experts."""
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
        """Sets `attention_offset` to what the first backbone's maps are off by; the authors' geometry knows none."""
        if self.config.geometry == "pixels":
            backbone = next(module for module in self.modules() if isinstance(module, Backbone))
            self.config = dataclasses.replace(self.config, attention_offset=backbone.measure_offset())

    def normalize(self, images: Shaped[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Pictures as the backbones expect them; float pictures are returned as they are."""
        if images.dtype != torch.uint8:
            return images
        return images.float().sub_(255 * self.mean).div_(255 * self.std)

    def run_experts(
        self, pictures: Float[Tensor, "B 3 H W"], labels: Int[Tensor, " B"] | None = None, *,
        experts: Sequence[nn.Module] | None = None,
    ) -> Generator[ExpertPass, Tensor | None, None]:  # fmt: skip
        """Lets the active experts look, one after the other.

        Nothing that one expert hands to the next carries a gradient, so the caller may call backward on each expert's
        loss, and drop its output, before the next one runs: one expert's activations are in memory at a time. (Python's
        `enumerate` and `zip` hold on to what they gave last.)

        Who calls `send` with the numbers of some photos (rows of the last look) lets the other ones leave.

        Args:
            pictures: Normalised pictures.
            labels: Whose attention the experts follow. None: the class that each expert predicts.
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

    def weigh(
        self, first_view: Float[Tensor, "B 3 h w"], first_features: Float[Tensor, "B D"], *,
        gate: nn.Module | None = None,
    ) -> Float[Tensor, "B E"]:  # fmt: skip
        """How much each active expert counts; the experts receive no gradient.

        Args:
            first_view: What expert 0 saw, for a gate with a backbone of its own.
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
        """The box that an expert found in its view, and its map scaled to [0, 1]."""
        config = self.config
        first = config.attention == "first"
        head = cast(nn.Linear, (self.experts[0] if first else expert).large_head)
        scores = head(output.large_features) if first else output.joint_logits
        cells = output.features.shape[2] * output.features.shape[3]
        pull_back = cast(Expert, expert).pull_back
        if labels is None and config.attention_to == "belief":
            probs = scores.float().softmax(1)
            weights = expected_weights(head.weight, probs, num_cells=cells, positive=config.positive_weights)
            weights = pull_back(output.features, weights)
        else:
            followed = scores.argmax(1) if labels is None else labels
            weights = pull_back(output.features, channel_weights(head.weight, followed, num_cells=cells))
            weights = weights.relu() if config.positive_weights else weights
        maps = attention_map(output.features, weights)
        threshold, offset = config.attention_threshold, config.attention_offset
        if config.box == "spread":
            boxes = spread_boxes(maps, size=size, threshold=threshold, offset=offset)
        else:
            boxes = attention_boxes(maps, size=size, threshold=threshold, geometry=config.geometry, offset=offset)
        return boxes, scale_to_unit(maps)

    @torch.no_grad()
    def first_view(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """The whole picture at the size of a view."""
        size = self._size_of_view(pictures)
        supersample = _reduction(pictures, size)
        if (size[0] * supersample, size[1] * supersample) == tuple(pictures.shape[2:]):
            return pictures if supersample == 1 else functional.avg_pool2d(pictures, supersample)
        return zoom(pictures, boxes, size=size, supersample=supersample, sampling=self.sampling)

    @torch.no_grad()
    def next_view(self, pictures: Tensor, view: Tensor, boxes: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """The view of what the former expert found, and its box in pixels of the pictures."""
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
        return round(height / self.config.detail), round(width / self.config.detail)


def _reduction(pictures: Tensor, size: tuple[int, int]) -> int:
    """The largest whole factor by which a view can reduce the picture."""
    return max(1, math.ceil(pictures.shape[2] / size[0]), math.ceil(pictures.shape[3] / size[1]))
