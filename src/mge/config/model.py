"""The options of the network."""

import dataclasses
import math
from typing import Literal

from mge.config.checks import Options, check_choice, check_range, check_whole_or_auto
from mge.errors import ConfigError

Attention = Literal["own", "first"]
AttentionTo = Literal["class", "belief"]
BoxShape = Literal["extent", "spread"]
FusedHeads = Literal["joint", "all", "large"]
Gate = Literal["own", "shared"]
HeadLayers = Literal["pretrained", "none"]
Geometry = Literal["pixels", "authors"]
Mix = Literal["logits", "probs"]
Channels = tuple[float, float, float]  # red, green, blue
PartNorm = Literal["batch", "none"]
PartHead = Literal["auto", "dense", "classwise"]
ZoomFrom = Literal["photo", "previous"]

NORMALIZATIONS: dict[str, tuple[Channels, Channels]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig(Options):
    """The mixture's architecture: what is stored with a model.

    Args:
        backbone: Name of a timm model whose features can be read at two depths.
        experts: Number of experts. 1 is a single network.
        share_experts: Whether all experts are one network, for which every view of a photo is another example, or each
            has weights of its own, as in the paper.
        size: Side in pixels of the square view that every expert sees.
        detail: How many times larger than a view the photo is kept, so that a zoom shows real detail. 1 is the paper.
        output_stride: Pixels of a view for each cell of the last feature map: 32, 16 or 8. 0 leaves it to the backbone.
        zoom_from: Whether an expert's view is cut out of the `photo` itself or out of the `previous` expert's view.
        geometry: `pixels` treats a pixel as an area and a box as end-exclusive; `authors` aligns corners and drops the
            last row and column, as the authors' program does.
        attention: Whether each expert's `own` classifier weights its map, or the `first` expert's weights all of them.
        attention_to: What an expert's map shows: the evidence for one `class`, as in the paper, or for every class as
            much as the expert believes in it (`belief`).
        positive_weights: Whether negative channel weights are set to 0 before the map is summed.
        box: `extent`: the smallest box around all cells above the threshold, as in the paper; `spread`: around the mean
            of what lies above it, as wide as its standard deviation says.
        attention_threshold: Fraction of the map's range above which a point lies inside the box, between 0 and 1.
        attention_offset: Pixels of a view by which what a cell of the last map sees lies right of and below the cell;
            boxes are moved by it. Training measures it where `measure_offset` says so.
        part_filters: Number of part filters for each class. 0 leaves the part and joint heads out: a plain network.
            `auto`: 10, as in the authors' program, up to 42 classes, and fewer for more, so that all filters together
            stay about 400; at least 4.
        part_padding: Zero cells put around the feature map before the part filters. The authors' program has 1.
        part_head: `dense`: each class reads the part features of all classes, as in the paper; `classwise`: its own
            only, so that heads grow linearly with classes; `auto`: dense for up to 500 classes.
        part_norm: Whether the part filters read features normalised channel by channel (`batch`), so that they do not
            depend on the scale of the backbone's, or as they are (`none`), as in the paper.
        part_gradient: Whether the part and joint heads train the backbone.
        fused_heads: Heads that an expert answers with: `joint`, as in the paper, `large`, or the mean of `all` three.
            Training sets it, where validation photos choose.
        head_layers: Whether layers that the pretrained network has between its last stage and its classifier are kept
            (`pretrained`), or left out (`none`), as MGE did before it knew of them.
        gate: Whether the gate has a backbone of its `own` or reads the `shared` features of the first expert.
        mix: Whether the gate weighs the experts' `logits` or their probabilities (`probs`).
        normalisation: Mean and standard deviation of the input: those of the pretrained weights (`auto`), `imagenet`'s,
            0.5 each (`half`), or six numbers, MEAN,MEAN,MEAN/STD,STD,STD, of red, green and blue from 0 to 1.
    """

    backbone: str = "resnet50"
    experts: int = 3
    share_experts: bool = False
    size: int = 448
    detail: float = 1.0
    output_stride: int = 0
    zoom_from: ZoomFrom = "photo"
    geometry: Geometry = "pixels"
    attention: Attention = "own"
    attention_to: AttentionTo = "belief"
    positive_weights: bool = True
    box: BoxShape = "spread"
    attention_threshold: float = 0.3
    attention_offset: float = 0.0
    part_filters: int | Literal["auto"] = "auto"
    part_padding: int = 0
    part_head: PartHead = "auto"
    part_norm: PartNorm = "batch"
    part_gradient: bool = True
    fused_heads: FusedHeads = "joint"
    head_layers: HeadLayers = "pretrained"
    gate: Gate = "shared"
    mix: Mix = "logits"
    normalisation: str = "auto"

    def _check(self) -> None:
        check_range("experts", self.experts, at_least=1, at_most=64)
        check_range("size", self.size, at_least=16, at_most=8192)
        check_range("detail", self.detail, at_least=1, at_most=16)
        check_choice("output_stride", self.output_stride, (0, 8, 16, 32))
        check_range("attention_threshold", self.attention_threshold, at_least=0, at_most=1)
        check_range("attention_offset", self.attention_offset, at_least=-256, at_most=256)
        check_whole_or_auto("part_filters", self.part_filters, at_least=0, at_most=1000)
        check_range("part_padding", self.part_padding, at_least=0, at_most=64)
        read_normalization(self.normalisation)
        if self.box == "spread" and self.geometry == "authors":
            raise ConfigError("box is spread and geometry is authors, which knows extents only; use box=extent")
        if self.part_filters == 0 and self.experts > 1:
            raise ConfigError(
                f"part_filters is 0 and experts is {self.experts}: a network without part filters has one head only; "
                "use experts=1, or part_filters of at least 1"
            )

    @property
    def photo_side(self) -> int:
        """Side in pixels of the square picture of a photo that the experts' views are cut out of."""
        return round(self.size * self.detail)

    @property
    def has_parts(self) -> bool:
        """Whether the network has part filters, and so three heads."""
        return self.part_filters != 0


def read_normalization(text: str) -> tuple[Channels, Channels] | None:
    """Return mean and standard deviation of red, green and blue; None where the pretrained weights say them (`auto`).

    Raises:
        ConfigError: that is neither a known name nor six numbers.
    """
    if text == "auto":
        return None
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text]
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ConfigError(
            f"normalisation is {text!r}; accepted: auto, {', '.join(NORMALIZATIONS)}, or six numbers such as "
            "0.5,0.5,0.5/0.25,0.25,0.25 (mean and standard deviation of red, green and blue)"
        )
    return mean, std


def write_normalization(mean: Channels, std: Channels) -> str:
    """Return the name of a mean and standard deviation that have one, or their six numbers."""
    names = {numbers: name for name, numbers in NORMALIZATIONS.items()}
    written = "/".join(",".join(f"{number:.12g}" for number in part) for part in (mean, std))
    return names.get((mean, std), written)
