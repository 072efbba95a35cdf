"""The order of photos, as a pure function of the seed and the epoch, and their loading in batches."""

import functools
import multiprocessing.queues
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mge.config import DataConfig
from mge.data.balance import balanced_order
from mge.data.dataset import PhotoDataset, Sample
from mge.data.machine import free_shared_memory, num_cores
from mge.errors import DataError, OutOfMemoryError

MOST_WORKERS = 8  # that are chosen by themselves
LOCKS = 1_000_000  # bytes of shared memory for the locks of the processes that decode
CANNOT_SEND = 76  # the exit code of one that cannot send a batch
UNSENT = (
    "a data-loading process could not pass on its photos: shared memory (/dev/shm) or another system limit is "
    "exhausted; use fewer processes (--workers 1) or none (--workers 0), or give the container more (--shm-size 1g)"
)
KILLED = (
    "a data-loading process was killed, probably because memory ran out; use fewer processes (--workers 1), or do not "
    "cache photos in memory (--cache no)"
)


class Batch(NamedTuple):
    """Photos that are trained on or evaluated together."""

    images: Tensor  # uint8 (B, 3, side, side)
    labels: Tensor  # (B,)
    indices: Tensor  # (B,) numbers of the photos in their data set


def epoch_batches(
    num_photos: int, *, batch_size: int, seed: int, epoch: int, shuffle: bool, drop_last: bool, rank: int = 0,
    world: int = 1, balance: Sequence[int] | None = None,
) -> list[list[int]]:  # fmt: skip
    """Return the photos of each batch of an epoch.

    Args:
        num_photos: Number of photos in the data set.
        batch_size: Photos in a batch, over all processes.
        seed: Seed of the order.
        epoch: Index of the epoch, each of which has another order.
        shuffle: Whether the order is random.
        drop_last: Whether to drop an incomplete last batch (batch norm cannot learn from one photo). A data set smaller
            than a batch is kept as one batch, with as many photos for each process.
        rank: Rank of this process.
        world: Number of processes; each global batch is split over them without overlap.
        balance: The class of each photo, to show every class equally often, at random. The number of batches stays.
            None: every photo is shown once.
    """
    if balance is not None:
        order = balanced_order(balance, seed=seed, epoch=epoch)
    elif shuffle:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch + 1) % 2**63)
        order = torch.randperm(num_photos, generator=generator).tolist()
    else:
        order = list(range(num_photos))
    batches = [order[start : start + batch_size] for start in range(0, num_photos, batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    if drop_last and len(batches[-1]) < batch_size:
        batches[-1] = batches[-1][: len(batches[-1]) - len(batches[-1]) % world]
    shares = [batch[rank::world] for batch in batches]
    return shares if drop_last else [share for share in shares if share]


def load_batches(
    dataset: PhotoDataset, batches: Sequence[Sequence[int]], *, epoch: int, workers: int
) -> Iterator[Batch]:
    """Load the given batches in order; the rest of an epoch is `batches[done:]`.

    Args:
        dataset: The photos.
        batches: Photos of each batch, from `epoch_batches`.
        epoch: Index of the epoch, which seeds augmentation.
        workers: Number of decoding processes; the result does not depend on it. With too little shared memory, they
            send photos through pipes, or this process decodes alone.

    Raises:
        DataError: a photo cannot be read.
        OutOfMemoryError: the system killed a worker, or it could not send its photos.
    """
    keys = [[(epoch, index) for index in batch] for batch in batches]
    workers, collate = _way(dataset, batches, workers=workers)
    loader = DataLoader(
        dataset, batch_sampler=keys, num_workers=workers, collate_fn=collate, pin_memory=torch.cuda.is_available(),
        worker_init_fn=functools.partial(_begin_worker, parent=os.getpid()) if workers else None,
        prefetch_factor=_batches_ahead(dataset, batches, workers=workers) if workers else None,
    )  # fmt: skip
    photos = iter(loader)
    try:
        for batch in photos:
            yield batch if isinstance(batch, Batch) else Batch(*map(torch.from_numpy, batch))
    except DataError as error:
        last_line = str(error).strip().splitlines()[-1]  # of a worker's traceback, which wraps it
        raise DataError(last_line.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        ends = [worker.exitcode for worker in getattr(photos, "_workers", ())]
        is_unsent = CANNOT_SEND in ends or f"exit code {CANNOT_SEND}" in str(error)
        raise OutOfMemoryError(UNSENT if is_unsent else KILLED) from error


def _way(
    dataset: PhotoDataset, batches: Sequence[Sequence[int]], *, workers: int
) -> tuple[int, Callable[[Sequence[Sample]], object]]:
    """Choose the number of workers, and the collate function for shared memory or pipes.

    Tensors are sent through shared memory, and if that is full they never arrive. Containers have 64 MB of it by
    default.
    """
    free = free_shared_memory()
    if not workers or free >= 2 * _largest(dataset, batches) * workers + LOCKS:
        return workers, _collate
    if free < LOCKS:
        say_once(
            f"Note: only {free} bytes of shared memory are free, too few for data-loading processes: loading in the "
            "main process"
        )
        return 0, _collate
    say_once(
        f"Note: only {free / 1e6:.1f} MB of shared memory are free, too little for {workers} data-loading processes: "
        "using pipes, which are slower. In a container, use --shm-size 1g"
    )
    return workers, _collate_for_pipe


def _largest(dataset: PhotoDataset, batches: Sequence[Sequence[int]]) -> int:
    """Return the bytes of the largest batch."""
    return 3 * dataset.side**2 * max([1, *map(len, batches)])


@functools.cache
def say_once(line: str) -> None:
    """Print a line for the user, once per process."""
    sys.stderr.write(f"{line}\n")


def num_workers(config: DataConfig, dataset: PhotoDataset) -> int:
    """Return the configured number of workers, or one that suits the machine and the work."""
    if config.workers >= 0:
        return config.workers
    is_quick = dataset.is_cached and not (dataset.train and config.randaugment)
    return 0 if is_quick else min(MOST_WORKERS, num_cores())


def _batches_ahead(dataset: PhotoDataset, batches: Sequence[Sequence[int]], *, workers: int) -> int:
    """Return the number of batches that each worker prefetches into shared memory, which is small in containers."""
    return max(1, min(4, free_shared_memory() // (2 * _largest(dataset, batches) * workers)))


def _begin_worker(_: int, *, parent: int) -> None:
    """Exit if the parent was killed during the start, and set the worker to exit if it cannot send a batch.

    From here on PyTorch watches the parent, but takes the current one for it: after a kill the init process, which
    never exits. A batch that cannot be sent would be dropped by Python's queue, and waited for without end.
    """
    if multiprocessing.get_start_method() == "fork" and os.getppid() != parent:
        os._exit(1)
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]


def _end_unsent(_: BaseException, __: object) -> None:
    os._exit(CANNOT_SEND)


def _collate(samples: Sequence[Sample]) -> Batch:
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.tensor([sample.label for sample in samples]),
        torch.tensor([sample.number for sample in samples]),
    )


def _collate_for_pipe(samples: Sequence[Sample]) -> tuple[object, ...]:
    """Collate without tensors, which would go through shared memory."""
    return tuple(tensor.numpy() for tensor in _collate(samples))
