"""The machine is looked at before anything slow: are the weights there, and is the memory enough?"""

import dataclasses
import math
from collections.abc import Sequence

from lightning_fabric import Fabric

from mge.config import DataConfig, ModelConfig, TrainConfig
from mge.console.tables import print_notes
from mge.data.dataset import cache_bytes
from mge.data.loader import MOST_WORKERS
from mge.data.machine import free_memory, num_cores
from mge.data.records import PhotoSet
from mge.models.backbone import Backbone
from mge.training.baselines import Plan
from mge.training.memory import MemoryPlan, network_bytes, shrink

SURELY_ENOUGH = 20_000  # bytes for each pixel of a batch of views: more than networks of timm need


def check_weights(model: ModelConfig, config: TrainConfig) -> None:
    """Build the backbone, so that missing weights are an error now and not after all photos have been read.

    Raises:
        ConfigError: they cannot be downloaded, or the file does not fit.
    """
    if config.pretrained or config.weights is not None:
        Backbone(
            model.backbone, size=model.size, output_stride=model.output_stride, pretrained=config.pretrained,
            weights=config.weights, head_layers=model.head_layers,
        )  # fmt: skip


def fit_memory(
    fabric: Fabric, photos: PhotoSet, plans: Sequence[Plan], data: DataConfig, config: TrainConfig, *, is_new: bool
) -> tuple[DataConfig, TrainConfig]:
    """Return the options with a smaller cache, fewer workers or a smaller batch where the memory would not be enough.

    Args:
        fabric: Lightning Fabric; the first process decides, for all of them.
        photos: The photos.
        plans: All networks of the run.
        data: Data options.
        config: Training options, with a batch size.
        is_new: Whether the batch size may still change.
    """
    free = free_memory()
    start = _need(fabric, photos, plans, data, config, free=free)

    def network_at(batch_size: int) -> int:
        return _largest(fabric, photos, plans, batch_size=batch_size)

    fits = shrink(
        start, free=free, uncached_workers=_num_reading(data) if data.cache == "auto" else None,
        multiple=fabric.world_size if is_new and start.network else 0, network_at=network_at,
    )  # fmt: skip
    fits = fabric.broadcast(fits)
    if start.total > free and fabric.is_global_zero:
        changes = [f"now {fits.describe_change(start)}"] if fits != start else []
        if fits.total > free:
            changes.append("use a smaller --size or --backbone")
        needs = f"training needs about {start.describe()}, but only {free / 1e9:.1f} GB are free"
        print_notes([f"{needs}: {'; '.join(changes)}"])
    if start.caches and not fits.caches:
        data = dataclasses.replace(data, cache="no")
    if fits.workers != start.workers:
        data = dataclasses.replace(data, workers=fits.workers)
    return data, dataclasses.replace(config, batch_size=fits.batch_size, accumulate=fits.accumulate)


def _need(
    fabric: Fabric, photos: PhotoSet, plans: Sequence[Plan], data: DataConfig, config: TrainConfig, *, free: int
) -> MemoryPlan:
    """Estimate what the settings need as they are."""
    side = max(model.photo_side for model, _ in plans)
    sizes = [cache_bytes(len(photos.split(split)), side=side, config=data) for split in ("train", "val", "test")]
    most_cached = {"yes": math.inf, "auto": free / 8, "no": 0.0}[data.cache]
    cache = sum(size for size in sizes if size < most_cached)
    is_quick = data.workers < 0 and sizes[0] < most_cached and not data.randaugment
    workers = 0 if is_quick else _num_reading(data)
    batch = config.global_batch_size
    view = max(model.size for model, _ in plans)
    most = SURELY_ENOUGH * _num_in_batch(photos, batch) // fabric.world_size * view**2
    needs_estimate = fabric.device.type == "cpu" and most > free / 2
    network = _largest(fabric, photos, plans, batch_size=batch) if needs_estimate else 0
    return MemoryPlan(batch, config.accumulate, workers, bool(cache), network, int(cache))


def _num_in_batch(photos: PhotoSet, batch_size: int) -> int:
    """Return the number of photos in a batch, which may be fewer than its size."""
    return min(batch_size, len(photos.split("train")))


def _num_reading(data: DataConfig) -> int:
    """Return the number of data-loading processes for photos that are not cached."""
    return data.workers if data.workers >= 0 else min(MOST_WORKERS, num_cores())


def _largest(fabric: Fabric, photos: PhotoSet, plans: Sequence[Plan], *, batch_size: int) -> int:
    """Return the bytes of the network that needs most."""
    num_classes, batch_size = len(photos.class_names), _num_in_batch(photos, batch_size)
    return max(
        network_bytes(fabric, model, num_classes=num_classes, config=dataclasses.replace(each, batch_size=batch_size))
        for model, each in plans
    )
