"""Options of the training."""

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mge.config.checks import Options, check_range, check_ranges, check_whole_or_auto, read_duration
from mge.errors import ConfigError

LOSSES = Path(__file__).parents[1] / "core" / "losses.py"
Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Balance = Literal["none", "sampler", "loss"]
Baseline = Literal["none", "same_view", "equal_compute", "both"]
BatchNorm = Literal["auto", "local", "synced", "frozen"]
Decay = Literal["cosine", "step"]
if TYPE_CHECKING:
    Diversity = str
else:  # the functions `diversity_…` of core/losses.py, which are read without importing that, and torch
    Diversity = Literal[tuple(re.findall(r"^def diversity_(\w+)", LOSSES.read_text(encoding="utf-8"), re.MULTILINE))]
ExpertInit = Literal["pretrained", "previous"]
FusionChoice = Literal["chosen", "all"]
GateTemperature = Literal["fitted", "none"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["joint", "progressive", "crops"]
Strategy = Literal["auto", "ddp"]
TrainCamClass = Literal["label", "predicted"]


@dataclasses.dataclass(frozen=True)
class TrainConfig(Options):
    """Training options.

    Args:
        epochs: Number of epochs (per expert with the progressive schedule).
        time_limit: Time for the whole run, with its baselines: `30m`, `2h`, `1h30m` or seconds. The number of epochs is
            fitted to it by the measured speed, and the learning-rate schedule of `epochs` is stretched over them.
        early_stop: Stop (a stage) after so many epochs without a better validation accuracy. 0: off.
        batch_size: Photos per step, over all devices. `auto` uses the largest power of two that fits in memory.
        seed: Random seed of the photo order, augmentation, dropout, initialization and splits.
        schedule: `joint` trains all experts in each step; `progressive` adds one after the other; `crops` trains one
            shared network on random crops of every scale down to `resized_crop`, at the cost of training a plain
            network.
        freeze_previous: Freeze the previous experts in the progressive schedule.
        freeze_backbone: Keep the weights and the batch-norm statistics of the backbones, and train heads and gate only.
        cached_views: Number of augmented views of each training photo whose features are computed once per expert and
            cached on disk; epochs use them in turn. Needs `freeze_backbone` and the `progressive` schedule. 0: no
            cache.
        expert_init: Initial weights of a new expert's backbone in the progressive schedule: the `pretrained` ones, or a
            copy of the `previous` expert.
        train_cam_class: Class whose activation map guides the next expert during training: the `label`, as in the
            paper, or the `predicted` class, as at inference.
        measure_offset: Measure `attention_offset` on the backbone before training, and set it.
        pretrained: Start from ImageNet weights (timm; downloaded once).
        weights: File with backbone weights (.safetensors or .pth) to use instead of a download, or a run or model
            folder to go on from: with its backbone, and with its heads if the classes are the same.
        optimizer: `sgd` with momentum 0.9, or `adamw`.
        backbone_lr: Peak learning rate of the backbones.
        head_lr: Peak learning rate of the heads.
        gate_lr: Peak learning rate of the gate.
        gate_from: Fraction of the epochs (of each stage) after which the gate is trained. Until then the gate is
            uniform. Trained earlier, it learns how far each expert has converged rather than which photos it is good
            at.
        gate_temperature: `fitted` on validation photos, between a uniform and the trained gate, or `none`: the trained
            gate as it is.
        fusion: `chosen`: select the number of experts and the heads on validation photos (fewer if within one standard
            error of the best); `all`: use the joint heads of all experts.
        weight_decay: L2 penalty (`sgd`) or decoupled weight decay (`adamw`).
        warmup_epochs: Epochs of linear learning-rate warmup.
        decay: Learning-rate schedule: `cosine` to 0, or `step`, divided by 10 every `decay_epochs`.
        decay_epochs: Epochs between two steps of the `step` schedule.
        label_smoothing: Label smoothing of the classification losses.
        balance: Class balancing: `sampler` draws all classes equally often; `loss` weights each photo by the inverse
            frequency of its class; `none`.
        diversity: Diversity loss between consecutive experts: as in the `paper`, as in the `authors` program, or
            `none`.
        diversity_weight: Weight of the diversity loss.
        clip_norm: Maximum gradient norm per expert. 0: no clipping.
        accumulate: Number of batches for gradient accumulation.
        ema: Decay of the exponential moving average of the weights, which is evaluated and saved. 0: off.
        batch_norm: Batch-norm statistics in training: per process (`local`), over all processes (`synced`, GPUs only),
            or `frozen`; `auto` is synced on several GPUs, else local.
        precision: Precision of the backbones: `float32`, `bfloat16`, or `auto` (bfloat16 where the hardware supports it
            natively: CUDA, or CPUs with AMX or AVX-512 BF16).
        channels_last: Use the channels-last memory layout.
        baseline: Also train plain networks for comparison: with the `same_view`, with `equal_compute` (a larger input),
            or `both`.
        accelerator: Accelerator for Lightning Fabric: auto, cpu, cuda, mps.
        devices: Number of devices, or `auto`.
        nodes: Number of machines.
        strategy: Strategy for Lightning Fabric on several devices; `auto` is ddp.
        process_timeout: Seconds to wait for the other processes of a distributed training: stop if one does not respond
            in a step.
        checkpoint_minutes: Minutes between checkpoints within an epoch. A checkpoint is always written after each
            epoch.
        checkpoint_steps: Also write a checkpoint every so many batches. 0: by time only.
    """

    epochs: int = 30
    time_limit: float | str | None = None
    early_stop: int = 0
    batch_size: int | Literal["auto"] = 16
    seed: int = 0
    schedule: Schedule = "joint"
    freeze_previous: bool = True
    freeze_backbone: bool = False
    cached_views: int = 0
    expert_init: ExpertInit = "previous"
    train_cam_class: TrainCamClass = "predicted"
    measure_offset: bool = True
    pretrained: bool = True
    weights: str | None = None
    optimizer: Optimizer = "sgd"
    backbone_lr: float = 0.001
    head_lr: float = 0.01
    gate_lr: float = 0.0003
    gate_from: float = 0.5
    gate_temperature: GateTemperature = "fitted"
    fusion: FusionChoice = "chosen"
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
    process_timeout: float = 60.0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0

    def _check(self) -> None:
        check_range("epochs", self.epochs, at_least=1)
        check_range("early_stop", self.early_stop, at_least=0)
        if self.time_limit is not None:
            read_duration("time_limit", self.time_limit)
        check_whole_or_auto("batch_size", self.batch_size, at_least=1)
        check_ranges(self, "nodes", "process_timeout", at_least=1)
        if self.devices != "auto" and not (self.devices.isdecimal() and int(self.devices)):
            raise ConfigError(f"devices is {self.devices!r}; accepted: a whole number, at least 1, or auto")
        check_range("seed", self.seed, at_least=0, at_most=2**32 - 1)
        check_ranges(self, "accumulate", "decay_epochs", at_least=1)
        check_range("ema", self.ema, at_least=0, at_most=0.99999)
        check_range("label_smoothing", self.label_smoothing, at_least=0, at_most=0.9)
        check_range("gate_from", self.gate_from, at_least=0, at_most=1)
        check_ranges(
            self, "backbone_lr", "head_lr", "gate_lr", "weight_decay", "warmup_epochs", "diversity_weight", "clip_norm",
            "checkpoint_minutes", "checkpoint_steps", "cached_views", at_least=0,
        )  # fmt: skip

    @property
    def limit_seconds(self) -> float | None:
        """The time limit in seconds; None without one."""
        return None if self.time_limit is None else read_duration("time_limit", self.time_limit)

    @property
    def global_batch_size(self) -> int:
        """The batch size, once it is a number."""
        assert isinstance(self.batch_size, int), "a run decides what `auto` is before it trains"
        return self.batch_size
