"""The plan of a run in one line, with the time that it will take, once a few steps were timed."""

import dataclasses
from collections.abc import Iterable, Mapping

from lightning_fabric import Fabric

from mge.config import ModelConfig, TrainConfig
from mge.console.pace import describe_seconds
from mge.data.machine import num_cores
from mge.data.records import PhotoSet
from mge.training.baselines import Plan
from mge.training.workload import FORWARD, SIDE, Workload

TOO_LONG = 6 * 3600.0  # seconds, on a CPU
QUICK = "--preset laptop"  # the options of a training that takes minutes on a CPU


@dataclasses.dataclass
class Forecast:
    """The networks of a run that are still to be trained, in order, and the line about them.

    Args:
        fabric: Lightning Fabric, launched.
        photos: The photos.
        data: Name of the data on the command line.
        plans: Network and training options, by the name for users.
        limit: Time limit in seconds, if there is one.
        is_told: Whether the line was printed.
    """

    fabric: Fabric
    photos: PhotoSet
    data: str
    plans: Mapping[str, Plan]
    limit: float | None = None
    is_told: bool = False

    def workload(self, plan: Plan) -> Workload:
        """Return the work of training one of the networks."""
        num_photos, num_val_photos = len(self.photos.split("train")), len(self.photos.split("val"))
        return Workload(*plan, num_photos=num_photos, num_val_photos=num_val_photos)

    def ending(self, networks: Iterable[str]) -> float:
        """Return the work of the measurements after the last epochs of these networks."""
        number = 2 * (len(self.photos.split("val")) + len(self.photos.split("test")))
        models = (self.plans[name][0] for name in networks)
        return sum(number * FORWARD * model.experts * (model.size / SIDE) ** 2 for model in models)

    def tell(self, rate: float) -> str:
        """Return the line the first time, and nothing later.

        Args:
            rate: Work per second, as measured.
        """
        if self.is_told:
            return ""
        self.is_told = True
        total = self.ending(self.plans) + sum(self.workload(plan).total for plan in self.plans.values())
        return self.describe(total / rate)

    def describe(self, seconds: float) -> str:
        """Describe what is trained on what, and how long it takes."""
        networks = ", ".join(_describe(name, *plan) for name, plan in self.plans.items())
        device = self.fabric.device.type
        cores = num_cores() * self.fabric.world_size
        where = f"{cores} CPU core{'s' * (cores != 1)}" if device == "cpu" else f"{self.fabric.world_size} x {device}"
        count = len(self.photos.split("train"))
        text = f"Plan: {networks}; {count:,} training photos, {where}: about {describe_seconds(seconds)} in all."
        if self.limit is not None:
            return f"{text} The epochs are fitted to the time limit of {describe_seconds(self.limit)}."
        if device == "cpu" and seconds > TOO_LONG:
            text += f" That is long; minutes take: mge train {self.data} {QUICK}"
        return text


def _describe(name: str, model: ModelConfig, config: TrainConfig) -> str:
    """Describe a network with its size and its epochs."""
    experts = f" of {model.experts} experts" if model.experts > 1 else ""
    times = f"{model.experts} x " if config.schedule == "progressive" else ""
    epochs = f"{times}{config.epochs} epoch{'s' * (config.epochs != 1)}"
    return f"{name}{experts} ({model.backbone}, {model.size} px, {epochs})"
