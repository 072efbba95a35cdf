"""Every option of MGE, its default, what it accepts, and the presets.

Three frozen dataclasses hold the options by concern: the network (`ModelConfig`), the photos (`DataConfig`) and the
training (`TrainConfig`). Their field names are the names of the command line's flags. They validate themselves.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args, get_origin

from mge.errors import ConfigError

Attention = Literal["own", "first"]
AttentionTo = Literal["class", "belief"]
BoxShape = Literal["extent", "spread"]
Diversity = Literal["paper", "authors", "none"]
Gate = Literal["own", "shared"]
GateTrust = Literal["chosen", "full"]
Geometry = Literal["pixels", "authors"]
Mix = Literal["logits", "probs"]
Normalisation = Literal["imagenet", "half"]
PartHead = Literal["auto", "dense", "classwise"]
ZoomFrom = Literal["photo", "previous"]

Resize = Literal["short", "squash"]

Balance = Literal["none", "sampler", "loss"]
Decay = Literal["cosine", "step"]
Follow = Literal["true", "predicted"]
BatchNorm = Literal["auto", "local", "synced", "frozen"]
Baseline = Literal["none", "same_view", "equal_compute", "both"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["joint", "progressive"]
Start = Literal["weights", "former"]
Strategy = Literal["auto", "ddp"]
Preset = Literal["default", "best", "paper", "authors"]

# What to do in place of a choice that others have and this is without, by the option's name.
INSTEAD = {
    "strategy": "; weights are not split over GPUs: where they do not fit on one, use schedule=progressive, "
    "gate=shared or precision=bfloat16, and where the photos do not, a smaller batch_size with accumulate",
}


class _Options:
    """Validation shared by the option classes: literals, bounds, unknown names."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check_literal(field, getattr(self, field.name))
        self._check()

    def _check(self) -> None:
        """Checks what no type can say."""

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """The options of a mapping, the defaults for the rest.

        Raises:
            ConfigError: a name is unknown, or a value is not accepted.
        """
        check_names(options, known=[field.name for field in dataclasses.fields(cls)])  # type: ignore[arg-type]
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON-able values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Options):
    """The mixture's architecture: what is stored with a model.

    Args:
        backbone: Name of a timm model whose features can be read at two depths.
        experts: Number of experts. 1 is a single network.
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
        part_padding: Zero cells put around the feature map before the part filters. The authors' program has 1.
        part_head: `dense`: each class reads the part features of all classes, as in the paper; `classwise`: its own
            only, so that heads grow linearly with classes; `auto`: dense for up to 500 classes.
        part_gradient: Whether the part and joint heads train the backbone.
        gate: Whether the gate has a backbone of its `own` or reads the `shared` features of the first expert.
        mix: Whether the gate weighs the experts' `logits` or their probabilities (`probs`).
        normalisation: Mean and standard deviation of the input: ImageNet's, or 0.5 each (`half`).
    """

    backbone: str = "resnet50"
    experts: int = 3
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
    part_filters: int = 10
    part_padding: int = 0
    part_head: PartHead = "auto"
    part_gradient: bool = True
    gate: Gate = "shared"
    mix: Mix = "logits"
    normalisation: Normalisation = "imagenet"

    def _check(self) -> None:
        check_range("experts", self.experts, at_least=1, at_most=64)
        check_range("size", self.size, at_least=16, at_most=8192)
        check_range("detail", self.detail, at_least=1, at_most=16)
        check_choice("output_stride", self.output_stride, (0, 8, 16, 32))
        check_range("attention_threshold", self.attention_threshold, at_least=0, at_most=1)
        check_range("attention_offset", self.attention_offset, at_least=-256, at_most=256)
        check_range("part_filters", self.part_filters, at_least=0, at_most=1000)
        check_range("part_padding", self.part_padding, at_least=0, at_most=64)
        if self.box == "spread" and self.geometry == "authors":
            raise ConfigError("box is spread and geometry is authors, which knows extents only; use box=extent")
        if self.part_filters == 0 and self.experts > 1:
            raise ConfigError(
                f"part_filters is 0 and experts is {self.experts}: a network without part filters has one head only; "
                "use experts=1, or part_filters of at least 1"
            )


@dataclasses.dataclass(frozen=True)
class DataConfig(_Options):
    """How photos become batches.

    Args:
        val_fraction: Fraction of the training photos of each class held out for validation where the data has no
            validation split.
        test_fraction: Fraction of all photos of each class held out for testing where the data has no test split.
        resize: `short` scales the photo's shorter side and keeps its shape; `squash` scales both sides alike.
        crop_fraction: Side of the square crop as a fraction of the resized photo. The paper crops 448 out of 512.
        flip: Whether training mirrors half of the photos.
        jitter: Strength of the random change of brightness, contrast and saturation in training, from 0 (none) to 1.
        resized_crop: Smallest fraction of the photo's area that training may crop and enlarge to a view: a random
            resized crop. 0 crops at one scale, as the paper does.
        randaugment: Magnitude, up to 30, of two random changes of colour or shape in training (RandAugment). 0: none.
        erasing: Probability that training overwrites a rectangle of a photo with noise.
        mixup: Strength, often 0.2, with which training lays another photo of the batch over each. 0: not at all.
        cutmix: Strength, often 1, with which training pastes a rectangle of another photo of the batch into each.
            0: not at all. Where mixup is set too, each batch has one of the two.
        workers: Number of processes that decode photos. -1 chooses by the machine.
        cache: Whether resized photos are kept in memory: `auto` does where they fit well.
        max_broken_fraction: Fraction of all photos that may be broken: they are skipped. More stop the run before it
            begins.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.2
    resize: Resize = "short"
    crop_fraction: float = 0.875
    flip: bool = True
    jitter: float = 0.0
    resized_crop: float = 0.0
    randaugment: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    workers: int = -1
    cache: Literal["auto", "yes", "no"] = "auto"
    max_broken_fraction: float = 0.05

    def _check(self) -> None:
        check_range("val_fraction", self.val_fraction, at_least=0, at_most=0.9)
        check_range("test_fraction", self.test_fraction, at_least=0, at_most=0.9)
        check_range("crop_fraction", self.crop_fraction, at_least=0.1, at_most=1)
        check_range("jitter", self.jitter, at_least=0, at_most=1)
        check_range("resized_crop", self.resized_crop, at_least=0, at_most=1)
        check_range("randaugment", self.randaugment, at_least=0, at_most=30)
        check_range("erasing", self.erasing, at_least=0, at_most=1)
        check_range("mixup", self.mixup, at_least=0, at_most=100)
        check_range("cutmix", self.cutmix, at_least=0, at_most=100)
        check_range("workers", self.workers, at_least=-1)
        check_range("max_broken_fraction", self.max_broken_fraction, at_least=0, at_most=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Options):
    """How the mixture learns.

    Args:
        epochs: Passes over the training photos (under the progressive schedule: for each expert).
        batch_size: Photos a step, over all devices. `auto` takes the largest power of two that fits in memory.
        seed: Decides the order of photos, augmentation, dropout, first weights and splits.
        schedule: `joint` trains all experts in each step; `progressive` adds one after the other.
        freeze_former: Whether the progressive schedule leaves former experts as they are.
        start: What an expert's backbone starts from under the progressive schedule: its own first `weights`, or a copy
            of the `former` expert.
        follow: Whose attention leads the next expert in training: that for the `true` class, as in the paper, or for
            the class that each expert has `predicted`, as it is when the mixture is used.
        measure_offset: Whether `attention_offset` is measured on the backbone before training, and set.
        pretrained: Whether backbones start from timm's ImageNet weights (downloaded once).
        weights: File with backbone weights (.safetensors or .pth) to use instead of a download.
        optimizer: `sgd` with momentum 0.9, or `adamw`.
        backbone_lr: Highest learning rate of the backbones.
        head_lr: Highest learning rate of the heads.
        gate_lr: Highest learning rate of the gate's layers.
        gate_from: Fraction of the epochs (of each stage) after which the gate learns. Before, all experts count the
            same: a gate that is asked sooner goes by how far each expert is, not by what it is good at.
        gate_trust: Whether what the gate has learned counts in `full`, or as far as validation photos say (`chosen`):
            from not at all, so that all experts count the same, to in full.
        weight_decay: L2 penalty (`sgd`) or decoupled decay (`adamw`).
        warmup_epochs: Epochs during which the learning rate rises from 0.
        decay: `cosine` to 0, or `step`: a tenth after each `decay_epochs`.
        decay_epochs: Length in epochs of a step of the `step` decay.
        label_smoothing: Probability mass given to the wrong classes by the classification terms.
        balance: What makes up for rare classes: `sampler` shows every class equally often; `loss` weighs each photo in
            the classification terms by how rare its class is; `none`: nothing.
        diversity: Which diversity term is added between consecutive experts.
        diversity_weight: Its weight.
        clip_norm: Largest gradient norm of an expert. 0 does not clip.
        accumulate: Batches whose gradients are added before the weights change.
        ema: Decay of the averaged weights that are evaluated and saved. 0 keeps none.
        batch_norm: Which photos batch norm takes its statistics from in training: those of each process (`local`), of
            all of them (`synced`, on GPUs only), or none (`frozen`: they stay as they are); `auto` is synced where
            several GPUs train, and local otherwise.
        precision: Arithmetic of the backbones: `auto` takes bfloat16 where the hardware multiplies it natively (CUDA;
            on a CPU AMX or AVX-512 BF16).
        channels_last: Whether pictures are laid out with channels last in memory.
        baseline: Also train plain networks to compare with: of the `same_view`, of `equal_compute` (a larger view), or
            `both`.
        accelerator: Lightning Fabric's accelerator: auto, cpu, cuda, mps.
        devices: Number of devices, or `auto`.
        nodes: Number of machines.
        strategy: Lightning Fabric's strategy for several devices; `auto` is ddp.
        patience: Seconds that a process waits in a step for the others before the run stops and says whom it lost.
        checkpoint_minutes: Minutes between checkpoints inside an epoch. One is written after each epoch anyway.
        checkpoint_steps: Also write one after every so many batches of an epoch. 0: by the clock only.
    """

    epochs: int = 30
    batch_size: int | Literal["auto"] = 16
    seed: int = 0
    schedule: Schedule = "joint"
    freeze_former: bool = True
    start: Start = "former"
    follow: Follow = "predicted"
    measure_offset: bool = True
    pretrained: bool = True
    weights: str | None = None
    optimizer: Optimizer = "sgd"
    backbone_lr: float = 0.001
    head_lr: float = 0.01
    gate_lr: float = 0.0003
    gate_from: float = 0.5
    gate_trust: GateTrust = "chosen"
    weight_decay: float = 5e-4
    warmup_epochs: float = 0.0
    decay: Decay = "cosine"
    decay_epochs: int = 30
    label_smoothing: float = 0.0
    balance: Balance = "none"
    diversity: Diversity = "paper"
    diversity_weight: float = 1.0
    clip_norm: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    batch_norm: BatchNorm = "auto"
    precision: Precision = "auto"
    channels_last: bool = True
    baseline: Baseline = "none"
    accelerator: Accelerator = "auto"
    devices: str = "1"
    nodes: int = 1
    strategy: Strategy = "auto"
    patience: float = 60.0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0

    def _check(self) -> None:
        check_range("epochs", self.epochs, at_least=1)
        if self.batch_size != "auto":
            if type(self.batch_size) is not int:
                raise ConfigError(f"batch_size is {self.batch_size!r}; accepted: a whole number, at least 1, or auto")
            check_range("batch_size", self.batch_size, at_least=1)
        check_range("nodes", self.nodes, at_least=1)
        check_range("patience", self.patience, at_least=1)
        if self.devices != "auto" and not (self.devices.isdecimal() and int(self.devices)):
            raise ConfigError(f"devices is {self.devices!r}; accepted: a whole number, at least 1, or auto")
        check_range("seed", self.seed, at_least=0, at_most=2**32 - 1)
        check_range("accumulate", self.accumulate, at_least=1)
        check_range("decay_epochs", self.decay_epochs, at_least=1)
        check_range("ema", self.ema, at_least=0, at_most=0.99999)
        check_range("label_smoothing", self.label_smoothing, at_least=0, at_most=0.9)
        check_range("gate_from", self.gate_from, at_least=0, at_most=1)
        for name in ("backbone_lr", "head_lr", "gate_lr", "weight_decay", "warmup_epochs", "diversity_weight",
                     "clip_norm", "checkpoint_minutes", "checkpoint_steps"):  # fmt: skip
            check_range(name, getattr(self, name), at_least=0)

    @property
    def photos_a_step(self) -> int:
        """The batch size, once it is a number."""
        assert isinstance(self.batch_size, int), "a run decides what `auto` is before it trains"
        return self.batch_size


@dataclasses.dataclass(frozen=True)
class DistillConfig(_Options):
    """What a student learns from, beside the options of every training: `mge distill`.

    Args:
        teacher: Run folder of the teacher, a mixture.
        teacher_sha256: Of the teacher's weights, so that a run goes on with the teacher that it began with.
        temperature: What logits are divided by before student and teacher are compared.
        teacher_weight: How much the teacher's answer counts, from 0 to 1; the labels have the rest.
        zoomed_weight: How much the teacher's zoomed views, as further training pictures, count together beside the
            whole photo. 0 leaves them out.
    """

    teacher: str
    teacher_sha256: str
    temperature: float = 4.0
    teacher_weight: float = 0.9
    zoomed_weight: float = 1.0

    def _check(self) -> None:
        check_range("temperature", self.temperature, at_least=0.1, at_most=1000)
        check_range("teacher_weight", self.teacher_weight, at_least=0, at_most=1)
        check_range("zoomed_weight", self.zoomed_weight, at_least=0)


# What paper and program share, or the program alone says: its defaults and its configs/cub_resnet50.yml.
_PUBLISHED: dict[str, Any] = {
    # The network
    "backbone": "resnet50.tv_in1k",  # with torchvision's first ImageNet weights, not timm's own
    "experts": 3,
    "size": 448,
    "detail": 1.0,
    "output_stride": 0,
    "attention_threshold": 0.2,
    "attention_offset": 0.0,
    "part_filters": 10,
    "part_head": "dense",
    "gate": "own",
    # The photos
    "val_fraction": 0.0,  # every training photo is trained on, and the last epoch counts
    "resize": "short",
    "crop_fraction": 0.875,  # 448 out of 512
    "flip": True,
    "jitter": 0.0,
    "resized_crop": 0.0,
    "randaugment": 0,
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    # The training
    "epochs": 100,
    "batch_size": 10,
    "start": "weights",
    "follow": "true",
    "measure_offset": False,
    "pretrained": True,
    "optimizer": "sgd",
    "backbone_lr": 0.001,
    "head_lr": 0.01,
    "gate_lr": 0.01,
    "gate_from": 0.0,
    "gate_trust": "full",
    "weight_decay": 1e-4,
    "warmup_epochs": 0.0,
    "decay": "step",
    "decay_epochs": 30,
    "label_smoothing": 0.0,
    "balance": "none",
    "diversity_weight": 1.0,
    "clip_norm": 0.0,
    "accumulate": 1,
    "ema": 0.0,
    "precision": "float32",
}

# What each preset sets: every option that its source determines, also where the default is the same today.
# `docs/deviations.md` has the source of each and the reasons for our defaults.
PRESETS: dict[Preset, dict[str, Any]] = {
    "default": {},
    # A current backbone, and what such backbones are usually fine-tuned with. Not measured where this was written.
    "best": {
        "backbone": "convnext_base.fb_in22k_ft_in1k_384",
        "size": 384,
        "detail": 2.0,
        "resized_crop": 0.35,
        "randaugment": 9,
        "mixup": 0.2,
        "cutmix": 1.0,
        "erasing": 0.1,
        "epochs": 15,
        "batch_size": 32,
        "optimizer": "adamw",
        "backbone_lr": 5e-5,
        "head_lr": 1e-3,
        "weight_decay": 0.05,
        "warmup_epochs": 1.0,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "ema": 0.999,
    },
    "paper": {
        **_PUBLISHED,
        "zoom_from": "photo",
        "geometry": "pixels",
        "attention": "own",
        "attention_to": "class",
        "box": "extent",
        "positive_weights": False,
        "part_padding": 0,
        "part_gradient": True,
        "mix": "probs",
        "normalisation": "imagenet",
        "diversity": "paper",
        "schedule": "progressive",
        "freeze_former": False,
    },
    "authors": {
        **_PUBLISHED,
        "zoom_from": "previous",
        "geometry": "authors",
        "attention": "first",
        "attention_to": "class",
        "box": "extent",
        "positive_weights": True,
        "part_padding": 1,
        "part_gradient": False,
        "mix": "logits",
        "normalisation": "half",
        "diversity": "authors",
        "schedule": "joint",
    },
}


def split_options(
    options: Mapping[str, Any], *, preset: Preset = "default"
) -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """Sorts flat options into the three classes, over the preset's values.

    Args:
        options: Flat names and values, as the command line has them.
        preset: Whose values hold where `options` says nothing.

    Raises:
        ConfigError: a name is unknown, a value is not accepted, or there is no such preset.
    """
    check_choice("preset", preset, get_args(Preset))
    classes = (ModelConfig, DataConfig, TrainConfig)
    names = {cls: [field.name for field in dataclasses.fields(cls)] for cls in classes}
    check_names(options, known=[name for cls in classes for name in names[cls]])
    merged = {**PRESETS[preset], **options}
    model, data, train = ({name: merged[name] for name in names[cls] if name in merged} for cls in classes)
    return ModelConfig(**model), DataConfig(**data), TrainConfig(**train)


def take_distillation(options: dict[str, Any]) -> DistillConfig | None:
    """Takes a student's options out of the settings of a run; None where they are a mixture's."""
    names = [field.name for field in dataclasses.fields(DistillConfig) if field.name in options]
    taken = {name: options.pop(name) for name in names}
    return DistillConfig.from_dict(taken) if taken else None


def check_names(options: Mapping[str, Any], *, known: list[str]) -> None:
    """Raises ConfigError at the first unknown name, and suggests the nearest known one."""
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known options: " + ", ".join(known)
            raise ConfigError(f"unknown option {name!r}; {hint}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raises ConfigError unless the value is one of the choices."""
    if value not in choices:
        accepted = ", ".join(str(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}; accepted: {accepted}{INSTEAD.get(name, '')}")


def check_range(name: str, value: float, *, at_least: float, at_most: float | None = None) -> None:
    """Raises ConfigError unless the value is a number inside the bounds."""
    bounds = f"at least {at_least:g}" + ("" if at_most is None else f" and at most {at_most:g}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} is {value!r}; accepted: a number, {bounds}")
    if not (at_least <= value and (at_most is None or value <= at_most)):
        raise ConfigError(f"{name} is {value}; accepted: {bounds}")


def _check_literal(field: "dataclasses.Field[Any]", value: object) -> None:
    if get_origin(field.type) is Literal:
        check_choice(field.name, value, get_args(field.type))
    elif field.type is bool and not isinstance(value, bool):
        raise ConfigError(f"{field.name} is {value!r}; accepted: true, false")
    elif field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"{field.name} is {value!r}; accepted: a whole number")
    elif field.type is str and not isinstance(value, str):
        raise ConfigError(f"{field.name} is {value!r}; accepted: text, such as {str(value)!r}")
