"""Training state in a checkpoint: the position in the schedule, and the running metrics of the epoch."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric

from mge.errors import ModelFolderError
from mge.storage.run_folder import Run
from mge.training.step import StepFigures


@dataclasses.dataclass
class RunningMetrics:
    """Running sums over the photos of an epoch, for each expert and, last, the mixture.

    Sums and counts, never means of means: so it is exact for any split over batches and processes.
    """

    num_photos: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    hits: list[float] = dataclasses.field(default_factory=list)
    diversity: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, measured: StepFigures, *, num_photos: int) -> None:
        """Add one step of `num_photos` photos."""
        self.num_photos += num_photos
        self.losses = _plus(self.losses, (measured.losses * num_photos).tolist())
        self.hits = _plus(self.hits, measured.hits.tolist())
        self.diversity = _plus(self.diversity, (measured.diversity * num_photos).tolist())

    def over_processes(self, fabric: Fabric) -> "RunningMetrics":
        """Return the sums over all processes; times are those of this one."""
        if fabric.world_size == 1:
            return self
        sums = torch.tensor([self.num_photos, *self.losses, *self.hits, *self.diversity], dtype=torch.float64)
        reduced = fabric.all_reduce(sums.to(fabric.device), reduce_op="sum").tolist()  # type: ignore[union-attr]
        count, values = int(reduced[0]), reduced[1:]
        at, size = len(self.losses), len(self.hits)
        losses, hits, diversity = values[:at], values[at : at + size], values[at + size :]
        return RunningMetrics(count, losses, hits, diversity, self.seconds, self.data_seconds)

    def scaled(self, factor: int) -> "RunningMetrics":
        """Return the sums multiplied by a factor; times stay."""
        losses, hits, diversity = (
            [factor * value for value in values] for values in (self.losses, self.hits, self.diversity)
        )
        return RunningMetrics(factor * self.num_photos, losses, hits, diversity, self.seconds, self.data_seconds)

    def figures(self) -> dict[str, Any]:
        """Compute mean loss, accuracy in percent and mean diversity term of each expert and of the mixture."""
        row: dict[str, Any] = {}
        names = [f"expert{number}" for number in range(len(self.losses) - 1)] + ["mixture"]
        for name, loss, hits in zip(names, self.losses, self.hits, strict=True):
            row[f"train_loss_{name}"] = round(loss / self.num_photos, 5)
            row[f"train_top1_{name}"] = round(100 * hits / self.num_photos, 2)
        for number, diversity in enumerate(self.diversity[1:], start=1):
            row[f"diversity_expert{number}"] = round(diversity / self.num_photos, 5)
        return row

    def times(self) -> dict[str, float]:
        """Return the seconds of training, and the percentage of them spent waiting for data."""
        waiting = 100 * self.data_seconds / max(self.seconds, 1e-9)
        return {"seconds": round(self.seconds, 2), "data_wait_percent": round(waiting, 1)}


@dataclasses.dataclass
class TrainState:
    """Position of a run: the next batch to train on, and the metrics of the epoch before it."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    best_accuracy: float = -1.0  # the highest on validation photos in this stage so far, in percent
    epochs_since_best: int = 0
    former_epochs: int = 0  # of the stages before
    num_epochs: int = 0  # of this stage, where a time limit or early stopping decides it; 0: those of the options
    num_batches: int = 0  # of this epoch, where a time limit decides it; 0: all
    seconds_left: float = 0.0  # of this stage under a time limit, at the end of the epoch before
    tally: RunningMetrics = dataclasses.field(default_factory=RunningMetrics)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], *, num_epochs: int) -> "TrainState":
        """Return the position that `dataclasses.asdict` wrote, also that of earlier versions.

        Args:
            saved: Its fields.
            num_epochs: Epochs of each stage in versions that did not keep their number.
        """
        fields = dict(saved)
        fields.setdefault("former_epochs", fields["stage"] * num_epochs)
        if "best_score" in fields:
            fields["best_accuracy"] = fields.pop("best_score")[0]
        return cls(**{**fields, "tally": RunningMetrics(**fields["tally"])})

    def next_epoch(self, best_accuracy: float, *, since_best: int) -> "TrainState":
        """Return the position at the start of the next epoch.

        Args:
            best_accuracy: The highest on validation photos in this stage, in percent.
            since_best: Epochs since then.
        """
        return dataclasses.replace(
            self, epoch=self.epoch + 1, batch=0, best_accuracy=best_accuracy, epochs_since_best=since_best,
            tally=RunningMetrics(),
        )  # fmt: skip

    def next_stage(self) -> "TrainState":
        """Return the position at the start of the next stage."""
        return TrainState(stage=self.stage + 1, former_epochs=self.former_epochs + self.epoch)


@contextlib.contextmanager
def explain_mismatch(run: Run) -> Iterator[None]:
    """Raise ModelFolderError if a checkpoint's parts do not match this run."""
    try:
        yield
    except ModelFolderError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(
            f"{run.checkpoint_path} is not the checkpoint of this run: {reason}; copy it again or start a new run"
        ) from error


def _plus(old: list[float], new: list[float]) -> list[float]:
    return [a + b for a, b in zip(old or [0.0] * len(new), new, strict=True)]
