"""Memory that a training will need, estimated before it starts, and smaller settings where it would not fit."""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from mge.config import ModelConfig, TrainConfig
from mge.models.mixture import MixtureOfExperts
from mge.training.batch_size import trial_step

WORKER_BYTES = 150_000_000  # of a data-loading process that are its own
SLACK = 1.25  # fragmentation
WORKSPACE = 40_000_000  # bytes that libraries take for themselves, measured on a CPU
STATES = {"sgd": 1, "adamw": 2}  # the optimiser's numbers for each weight


class _Allocations(TorchDispatchMode):
    """The bytes of all live tensors, each storage once, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._add, result)
        return result

    def _add(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided:  # its parts are tensors of their own
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def network_bytes(fabric: Fabric, model_config: ModelConfig, *, num_classes: int, config: TrainConfig) -> int:
    """Return the peak of the tensors in training: weights, gradients, the optimiser's state, activations.

    A step is run on fake tensors, which have shapes and no content, so that it takes no memory and a few seconds.

    Args:
        fabric: Lightning Fabric, for its device and precision.
        model_config: The network.
        num_classes: Number of its classes.
        config: Training options, with a batch size.
    """
    with FakeTensorMode(), _Allocations() as memory, torch.device(fabric.device):
        model = MixtureOfExperts(model_config, num_classes=num_classes, pretrained=False)
        model.active_experts = 1 if config.schedule == "crops" else model_config.experts
        size = max(1, config.global_batch_size // fabric.world_size)
        trial_step(fabric, model, size=size, config=config)
        weights = sum(parameter.nbytes for parameter in model.parameters())
    state = STATES[config.optimizer] * weights
    averaged = weights if config.ema else 0
    return int(SLACK * (memory.peak + state + averaged)) + WORKSPACE


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """The settings that decide how much memory a training needs, and the bytes of each part.

    Args:
        batch_size: Photos per step, over all devices.
        accumulate: Number of batches for gradient accumulation.
        workers: Number of data-loading processes.
        caches: Whether resized photos are kept in memory.
        network: Bytes of the largest network with a batch.
        cache: Bytes of the resized photos.
    """

    batch_size: int
    accumulate: int
    workers: int
    caches: bool
    network: int
    cache: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.network + self.caches * self.cache + self.workers * WORKER_BYTES

    def describe(self) -> str:
        """Describe the bytes of each part."""
        parts = [f"network with batches of {self.batch_size} photos {self.network / 1e9:.1f}"]
        parts += [f"photo cache {self.cache / 1e9:.1f}"] * self.caches
        parts += [f"{count_workers(self.workers)} {self.workers * WORKER_BYTES / 1e9:.1f}"] * bool(self.workers)
        return f"{self.total / 1e9:.1f} GB ({', '.join(parts)})"

    def describe_change(self, start: "MemoryPlan") -> str:
        """Describe what was changed to need less."""
        changes = ["no photo cache"] * (start.caches and not self.caches)
        if self.workers != start.workers:
            changes.append(count_workers(self.workers))
        if self.batch_size != start.batch_size:
            changes.append(f"batch size {self.batch_size} with --accumulate {self.accumulate}, the same effective size")
        return ", ".join(changes)


def count_workers(number: int) -> str:
    """Return the number of data-loading processes in words."""
    return f"{number} data-loading process{'es' * (number != 1)}"


def shrink(
    start: MemoryPlan, *, free: int, uncached_workers: int | None, multiple: int, network_at: Callable[[int], int]
) -> MemoryPlan:
    """Return settings that fit into the memory: no cache, then half of the workers, then half of the batch, and again.

    Args:
        start: The settings as they are.
        free: Bytes that are available.
        uncached_workers: Data-loading processes if photos are read anew in each epoch. None: they have to be cached.
        multiple: A smaller batch size has to be a multiple of it; 0: it may not change. The effective one stays.
        network_at: Returns the bytes of the network for a batch size.

    Returns:
        The settings; they may still need too much if nothing is left to reduce.
    """
    plan = start
    while plan.total > free:
        if plan.caches and uncached_workers is not None:
            plan = dataclasses.replace(plan, caches=False, workers=uncached_workers)
        elif plan.workers > 1:
            plan = dataclasses.replace(plan, workers=plan.workers // 2)
        elif multiple and plan.batch_size % (2 * multiple) == 0:
            half = plan.batch_size // 2
            plan = dataclasses.replace(plan, batch_size=half, accumulate=2 * plan.accumulate, network=network_at(half))
        else:
            break
    return plan
