"""Options of the network."""

import dataclasses
import math
from typing import Literal

from mge.config.checks import Options, check_choice, check_range, check_whole_or_auto
from mge.errors import ConfigError

Attention = Literal["own", "first"]
CamTarget = Literal["class", "softmax"]
BoxMethod = Literal["moments", "threshold"]
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
    """Model options (stored with the model).

    Args:
        backbone: Name of a timm model that provides feature maps at two strides.
        experts: Number of experts. 1 is a single network.
        share_experts: Use one set of weights for all experts, which then also learns from the zoomed views. If false,
            each expert has its own weights, as in the paper.
        share_backbone: Use one backbone for all experts, each with its own heads. Needs `freeze_backbone` in training.
        size: Side of the square input view of each expert, in pixels.
        zoom_resolution: Resolution at which the photo is kept for zooming, as a multiple of `size`. 1 as in the paper.
        output_stride: Stride of the last feature map in pixels: 32, 16 or 8. 0: that of the backbone.
        zoom_from: Crop the next view from the `photo` or from the `previous` expert's view.
        geometry: Pixel convention: `pixels` (pixels are areas, boxes are end-exclusive) or `authors` (align_corners,
            the last row and column are dropped, as in the authors' program).
        attention: Classifier weights used for the class activation map: each expert's `own`, or those of the `first`
            expert.
        cam_target: Class activation map: of one `class`, as in the paper, or of all classes weighted by their softmax
            probability (`softmax`).
        positive_weights: Set negative channel weights to 0 before summing the class activation map.
        box_method: Box around the attention: `threshold`, the bounding box of all cells above the threshold, as in the
            paper, or `moments`, from the mean and standard deviation of the map above the threshold.
        attention_threshold: Threshold of the attention map, as a fraction of its range, from 0 to 1.
        attention_offset: Shift of the boxes in pixels that corrects the offset between a cell and its receptive field.
            Training measures it with `measure_offset`.
        part_filters: Part filters per class. 0 removes the part and joint heads: a plain network. `auto`: 10 as in the
            authors' program for up to 42 classes, fewer for more (about 400 in total), at least 4.
        part_padding: Zero padding of the feature map before the part filters. 1 in the authors' program.
        part_head: `dense`: each class reads the part features of all classes, as in the paper; `classwise`: only its
            own, so that the head grows linearly with the number of classes; `auto`: dense for up to 500 classes.
        part_norm: Normalization of the features that the part filters read: `batch`, per channel, or `none`, as in the
            paper.
        part_gradient: Backpropagate the part and joint heads into the backbone.
        fused_heads: Heads that the mixture uses: `joint`, as in the paper, `large` (the global head), or the mean of
            `all` three. Training sets it if it is fitted on validation photos.
        head_layers: Keep (`pretrained`) or drop (`none`) the layers between pooling and classifier of the pretrained
            network.
        gate: Gate with its `own` backbone, or on the `shared` features of the first expert.
        mix: Combine the experts' `logits` or their probabilities (`probs`).
        normalization: Mean and standard deviation of the input: of the pretrained weights (`auto`), of `imagenet`, 0.5
            each (`half`), or six numbers, MEAN,MEAN,MEAN/STD,STD,STD, for red, green and blue from 0 to 1.
    """

    backbone: str = "resnet50"
    experts: int = 3
    share_experts: bool = False
    share_backbone: bool = False
    size: int = 448
    zoom_resolution: float = 1.0
    output_stride: int = 0
    zoom_from: ZoomFrom = "photo"
    geometry: Geometry = "pixels"
    attention: Attention = "own"
    cam_target: CamTarget = "softmax"
    positive_weights: bool = True
    box_method: BoxMethod = "moments"
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
    normalization: str = "auto"

    def _check(self) -> None:
        check_range("experts", self.experts, at_least=1, at_most=64)
        check_range("size", self.size, at_least=16, at_most=8192)
        check_range("zoom_resolution", self.zoom_resolution, at_least=1, at_most=16)
        check_choice("output_stride", self.output_stride, (0, 8, 16, 32))
        check_range("attention_threshold", self.attention_threshold, at_least=0, at_most=1)
        check_range("attention_offset", self.attention_offset, at_least=-256, at_most=256)
        check_whole_or_auto("part_filters", self.part_filters, at_least=0, at_most=1000)
        check_range("part_padding", self.part_padding, at_least=0, at_most=64)
        read_normalization(self.normalization)
        if self.box_method == "moments" and self.geometry == "authors":
            raise ConfigError(
                "box_method is moments and geometry is authors, which supports threshold only; use box_method=threshold"
            )
        if self.part_filters == 0 and self.experts > 1:
            raise ConfigError(
                f"part_filters is 0 and experts is {self.experts}: a network without part filters has one head only; "
                "use experts=1, or part_filters of at least 1"
            )

    @property
    def photo_side(self) -> int:
        """Side in pixels of the square picture of a photo that the experts' views are cut out of."""
        return round(self.size * self.zoom_resolution)

    @property
    def has_parts(self) -> bool:
        """True if the network has part filters, and so three heads."""
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
            f"normalization is {text!r}; accepted: auto, {', '.join(NORMALIZATIONS)}, or six numbers such as "
            "0.5,0.5,0.5/0.25,0.25,0.25 (mean and standard deviation of red, green and blue)"
        )
    return mean, std


def write_normalization(mean: Channels, std: Channels) -> str:
    """Return the name of a mean and standard deviation that have one, or their six numbers."""
    names = {numbers: name for name, numbers in NORMALIZATIONS.items()}
    written = "/".join(",".join(f"{number:.12g}" for number in part) for part in (mean, std))
    return names.get((mean, std), written)
