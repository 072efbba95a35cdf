"""The options of the training."""

import dataclasses
from typing import Literal

from mge.config.checks import Options, check_range, check_ranges, check_whole_or_auto
from mge.errors import ConfigError

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Balance = Literal["none", "sampler", "loss"]
Baseline = Literal["none", "same_view", "equal_compute", "both"]
BatchNorm = Literal["auto", "local", "synced", "frozen"]
Decay = Literal["cosine", "step"]
Diversity = Literal["paper", "authors", "none"]
Follow = Literal["true", "predicted"]
FusionChoice = Literal["chosen", "all"]
GateTrust = Literal["chosen", "full"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["joint", "progressive", "crops"]
Start = Literal["weights", "former"]
Strategy = Literal["auto", "ddp"]


@dataclasses.dataclass(frozen=True)
class TrainConfig(Options):
    """How the mixture learns.

    Args:
        epochs: Passes over the training photos (under the progressive schedule: for each expert).
        batch_size: Photos a step, over all devices. `auto` takes the largest power of two that fits on each.
        seed: Decides the order of photos, augmentation, dropout, first weights and splits.
        schedule: `joint` trains all experts in each step; `progressive` adds one after the other; `crops` trains the
            one network that all experts share on a random crop of each photo, of any size down to `resized_crop`, so
            that it knows whole photos and zooms alike. That costs as much as training a plain network.
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
        fusion: Whether validation photos choose how many experts answer, and with which heads (`chosen`; fewer where
            they are within a standard error of the best), or `all` experts answer with their joint heads.
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
    patience: float = 60.0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0

    def _check(self) -> None:
        check_range("epochs", self.epochs, at_least=1)
        check_whole_or_auto("batch_size", self.batch_size, at_least=1)
        check_ranges(self, "nodes", "patience", at_least=1)
        if self.devices != "auto" and not (self.devices.isdecimal() and int(self.devices)):
            raise ConfigError(f"devices is {self.devices!r}; accepted: a whole number, at least 1, or auto")
        check_range("seed", self.seed, at_least=0, at_most=2**32 - 1)
        check_ranges(self, "accumulate", "decay_epochs", at_least=1)
        check_range("ema", self.ema, at_least=0, at_most=0.99999)
        check_range("label_smoothing", self.label_smoothing, at_least=0, at_most=0.9)
        check_range("gate_from", self.gate_from, at_least=0, at_most=1)
        check_ranges(
            self, "backbone_lr", "head_lr", "gate_lr", "weight_decay", "warmup_epochs", "diversity_weight", "clip_norm",
            "checkpoint_minutes", "checkpoint_steps", at_least=0,
        )  # fmt: skip

    @property
    def global_batch_size(self) -> int:
        """The batch size, once it is a number."""
        assert isinstance(self.batch_size, int), "a run decides what `auto` is before it trains"
        return self.batch_size
