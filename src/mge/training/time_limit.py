"""The number of epochs that a time limit leaves, fitted to the measured speed."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from lightning_fabric import Fabric

from mge.console.pace import Pace
from mge.training.forecast import Forecast
from mge.training.train_state import TrainState
from mge.training.workload import Workload

TIMED_STEPS = 3  # after the first one, which includes preparation
FEWEST_EPOCHS = 10  # where a limit has fewer, they are shortened: the best one is chosen among them
MOST_VALIDATION = 0.25  # of the time, in shortened epochs
OVERHEAD = 5.0  # seconds at the end of a run: models are stored, a picture is drawn
WORTH_IT = 0.1  # of an epoch: less is not begun

# Seconds that are left for a stage, by the stage and the work per second.
Limit = Callable[[int, float], float]


class EpochPlan(NamedTuple):
    """Epochs that are still to be trained, and the batches in each."""

    num_epochs: int
    num_batches: int


class EpochSeconds(NamedTuple):
    """Seconds of a batch and of what an epoch has besides, such as its validation."""

    batch: float
    rest: float

    def fit(self, seconds: float, *, num_batches: int) -> EpochPlan:
        """Return the epochs that fit into these seconds: at least one batch.

        Args:
            seconds: Seconds that are left.
            num_batches: Batches of an epoch with all photos.
        """
        epoch = num_batches * self.batch + self.rest
        if seconds >= FEWEST_EPOCHS * epoch:
            return self.refit(seconds, num_batches=num_batches, usual=num_batches)
        number = FEWEST_EPOCHS if not self.rest else int(MOST_VALIDATION * seconds / self.rest)
        number = max(1, min(FEWEST_EPOCHS, number))
        return EpochPlan(number, self._batches(seconds / number, num_batches))

    def refit(self, seconds: float, *, num_batches: int, usual: int) -> EpochPlan:
        """Return the epochs, about as long as the one before, that fit into the seconds that are left; maybe none.

        Args:
            seconds: Seconds that are left.
            num_batches: Batches of an epoch with all photos.
            usual: Batches of the epoch before.
        """
        number = math.ceil(seconds / (usual * self.batch + self.rest) - WORTH_IT)
        return EpochPlan(number, self._batches(seconds / number, num_batches)) if number > 0 else EpochPlan(0, usual)

    def _batches(self, seconds: float, num_batches: int) -> int:
        return max(1, min(num_batches, round((seconds - self.rest) / self.batch)))


@dataclasses.dataclass
class TimeLimit:
    """The time limit of a run, shared by its networks and their stages by their work.

    Args:
        seconds: The limit.
        started: Time of the monotonic clock at the start of this process's work.
        past: Seconds of work of earlier processes, of a resumed run.
        forecast: The networks that are still to be trained, in order.
    """

    seconds: float
    started: float
    past: float
    forecast: Forecast

    def for_stage(self, network: str, stage: int, rate: float) -> float:
        """Return the seconds that are left for a stage of a network.

        Args:
            network: Its name.
            stage: Index of the stage.
            rate: Work per second.
        """
        names = list(self.forecast.plans)
        each = {name: self.forecast.workload(self.forecast.plans[name]) for name in names}
        own = [each[network].epoch(stage=number) for number in range(stage, each[network].num_stages)]
        epochs = self.forecast.plans[network][1].epochs
        following = names[names.index(network) :]
        later = sum(each[name].total for name in following[1:])
        used = self.past + time.monotonic() - self.started
        left = self.seconds - used - self.forecast.ending(following) / rate - OVERHEAD
        return max(0.0, left) * epochs * own[0] / (epochs * sum(own) + later)


class EpochFitter:
    """The speed of a stage, and the number of its epochs under a time limit.

    Decisions are made once, by the first process, and kept in the position, which checkpoints have: a resumed run keeps
    to them.

    Args:
        fabric: Lightning Fabric, launched.
        work: Work of the network.
        limit: None: there is none, and nothing is decided.
    """

    def __init__(self, fabric: Fabric, work: Workload, limit: Limit | None) -> None:
        self.fabric, self.work, self.limit = fabric, work, limit
        self.pace = Pace(total=0.0)
        self._clock = time.monotonic()

    def begin(self, position: TrainState) -> None:
        """Begin a stage, or resume in it."""
        self.pace = Pace(total=0.0)
        self._clock = time.monotonic() - position.tally.seconds

    @property
    def is_timed(self) -> bool:
        """True once, after a few timed steps."""
        return self.pace.pieces == 1 + TIMED_STEPS and self.pace.rate is not None

    def decide(self, position: TrainState, *, num_batches: int) -> None:
        """Set the number of epochs of a stage, and of batches in them, from its first steps."""
        rate = self.pace.rate
        if self.limit is None or position.num_epochs or rate is None:
            return
        seconds = self.fabric.broadcast(self.limit(position.stage, rate))
        batch = self.work.photos(self.work.num_photos, stage=position.stage) / num_batches / rate
        times = EpochSeconds(batch, self.work.validation(stage=position.stage) / rate)
        # The batches of this epoch that are done are counted again, for the epochs are whole ones.
        plan = self.fabric.broadcast(times.fit(seconds + position.batch * batch, num_batches=num_batches))
        position.num_epochs = position.epoch + plan.num_epochs
        position.num_batches = min(num_batches, max(plan.num_batches, position.batch + 1))
        position.seconds_left = seconds
        self._clock = time.monotonic()

    def end_epoch(self, position: TrainState, *, num_batches: int, num_done: int) -> None:
        """Fit the number of epochs anew at the end of one.

        Args:
            position: Position before the end of the epoch.
            num_batches: Batches of an epoch with all photos.
            num_done: Batches of this epoch.
        """
        if self.limit is None:
            return
        if not position.num_epochs:
            self.decide(position, num_batches=num_batches)
            return
        now = time.monotonic()
        left = position.seconds_left - (now - self._clock)
        trained = position.tally.seconds
        times = EpochSeconds(trained / num_done, max(0.0, now - self._clock - trained))
        self._clock = now
        plan, left = self.fabric.broadcast((times.refit(left, num_batches=num_batches, usual=num_done), left))
        position.num_epochs = position.epoch + 1 + plan.num_epochs
        position.num_batches, position.seconds_left = plan.num_batches, left
