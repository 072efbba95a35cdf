"""Memory of training: the largest batch that fits, and errors for running out of it."""

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch.nn import functional

from mge.config import ModelConfig, TrainConfig
from mge.console.allocator import is_about_memory
from mge.data.loader import Batch
from mge.data.machine import free_memory
from mge.errors import ConfigError, OutOfMemoryError
from mge.models.mixture import MixtureOfExperts
from mge.training.optimizer import build_optimizer
from mge.training.step import Network, train_step

LARGEST = 256  # photos per process: with more, learning rates that were tuned for 16 no longer apply
USABLE = 0.9  # of an accelerator's memory: fragmentation takes the rest
USABLE_OF_MACHINE = 0.5  # the rest is for data loading, and for other programs
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def explain_memory(config: TrainConfig) -> Iterator[None]:
    """Convert out-of-memory errors of torch, numpy and Python into one that suggests smaller settings."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_about_memory(error):
            raise
        size = config.global_batch_size
        less = "use a smaller --size or --backbone, or fewer --experts"
        if size > 1:
            less = (
                "--batch-size auto finds one that fits; the same effective batch size with half the memory: "
                f"--batch-size {size // 2} --accumulate {2 * config.accumulate}"
            )
        raise OutOfMemoryError(f"there is not enough memory for a batch of {size} photos; {less}") from error


def find_batch_size(
    fabric: Fabric, model_config: ModelConfig, *, num_classes: int, num_photos: int, config: TrainConfig
) -> int:
    """Find the largest batch size for training, over all processes: a power of two for each of them.

    An accelerator is tried until it runs out of memory. A CPU process would be killed by the system instead: there the
    memory of two small batches is measured, and that of larger ones extrapolated.

    Args:
        fabric: Lightning Fabric, launched; every process has to call this.
        model_config: The network.
        num_classes: Number of its classes.
        num_photos: Number of training photos; a batch has no more.
        config: Training options.

    Raises:
        OutOfMemoryError: not even one photo fits.
        ConfigError: this system does not report the memory of a process.
    """
    model = MixtureOfExperts(model_config, num_classes=num_classes, pretrained=False).to(fabric.device)
    trial = _Trial(fabric, model, config=config)
    fitting = _try_sizes(trial) if fabric.device.type == "cuda" else _compute_size(trial)
    own = torch.tensor(float(fitting), device=fabric.device)
    smallest = int(fabric.all_reduce(own, reduce_op="min").item()) if fabric.world_size > 1 else fitting  # type: ignore[union-attr]
    if smallest < 1:
        raise OutOfMemoryError(
            "there is not enough memory to train on one photo at a time; use a smaller --size or --backbone, or fewer "
            "--experts"
        )
    return fabric.world_size * _power_of_two(min(smallest, max(num_photos // fabric.world_size, 1)))


def trial_step(fabric: Fabric, model: MixtureOfExperts, *, size: int, config: TrainConfig) -> None:
    """Run forward and backward of a training step on random photos."""
    side = model.config.photo_side
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, device=fabric.device)
    labels = torch.arange(size, device=fabric.device) % model.num_classes
    targets = functional.one_hot(labels, model.num_classes).float()
    network = Network(model, list(model.experts_in_turn), model.gate)
    with fabric.autocast():
        train_step(fabric, network, Batch(images, labels, labels), targets, config=config)


class _Trial:
    """Trial training steps on random photos, with a temporary copy of the network."""

    def __init__(self, fabric: Fabric, model: MixtureOfExperts, *, config: TrainConfig) -> None:
        self.fabric, self.config = fabric, config
        self.model = copy.deepcopy(model).train()  # a second copy: as much memory as averaged weights
        self.optimizer = build_optimizer(self.model, config)

    def run(self, size: int) -> None:
        """Run two steps: the second one includes the optimiser's state."""
        for _ in range(2):
            trial_step(self.fabric, self.model, size=size, config=self.config)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def _try_sizes(trial: _Trial) -> int:
    """Return the last of 1, 2, 4, … photos that fit into the accelerator's memory."""
    fitting, size = 0, 1
    total = torch.cuda.get_device_properties(trial.fabric.device).total_memory
    while size <= LARGEST:
        try:
            trial.run(size)
        except RuntimeError as error:
            if not is_about_memory(error):
                raise
            break
        if torch.cuda.max_memory_reserved(trial.fabric.device) > USABLE * total:
            break
        fitting, size = size, 2 * size
    trial.optimizer.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    return fitting


def _compute_size(trial: _Trial) -> int:
    """Extrapolate the number of photos that fit from steps of two and of four."""
    if not CLEAR_REFS.exists():
        raise ConfigError("batch_size is auto, but this system does not report the memory of a process; give a number")
    free = USABLE_OF_MACHINE * free_memory()
    trial.run(2)
    peaks = [_peak_of(trial, size) for size in (2, 4)]
    each = max((peaks[1] - peaks[0]) / 2, 1)
    return int(min(LARGEST, max(0.0, free / each)))


def _peak_of(trial: _Trial, size: int) -> int:
    """Return the peak resident memory in bytes during steps of this many photos."""
    CLEAR_REFS.write_text("5", encoding="ascii")  # resets the kernel's peak to the current size
    trial.run(size)
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    assert found is not None, "Linux says this of every process"
    return 1024 * int(found[1])


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is not larger."""
    return 1 << (number.bit_length() - 1)
