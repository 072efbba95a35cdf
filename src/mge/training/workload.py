"""The amount of work of a training, to predict how long it takes."""

import dataclasses

from mge.config import ModelConfig, TrainConfig

FORWARD = 1 / 3  # of a pass: a backward costs two forwards
SIDE = 224  # pixels of the view that the unit of work refers to


def count_stages(model: ModelConfig, config: TrainConfig) -> int:
    """Return the number of stages: one for each expert with the progressive schedule."""
    return model.experts if config.schedule == "progressive" else 1


def photo_passes(model: ModelConfig, config: TrainConfig, *, stage: int) -> float:
    """Return the cost of training on one photo in a stage, in passes (forward and backward) of one network.

    A gate with its own backbone costs as much as an expert, from the second expert on.
    """
    own_gate = int(model.gate == "own" and model.experts > 1)
    if config.schedule == "crops":
        return 1
    if config.schedule == "joint":
        return model.experts + own_gate
    previous = FORWARD if config.freeze_previous else 1.0
    return 1 + previous * stage + own_gate * (stage > 0)


@dataclasses.dataclass(frozen=True)
class Workload:
    """The work of training a network, in passes of one network on a view of 224 px.

    Args:
        model: The network.
        config: Training options.
        num_photos: Training photos of an epoch.
        num_val_photos: Validation photos.
    """

    model: ModelConfig
    config: TrainConfig
    num_photos: int
    num_val_photos: int

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return count_stages(self.model, self.config)

    def photos(self, number: int, *, stage: int) -> float:
        """Return the work of training on so many photos."""
        return number * photo_passes(self.model, self.config, stage=stage) * self._view

    def validation(self, *, stage: int) -> float:
        """Return the work of one validation."""
        experts = stage + 1 if self.config.schedule == "progressive" else self.model.experts
        own_gate = int(self.model.gate == "own" and experts > 1)
        return self.num_val_photos * FORWARD * (experts + own_gate) * self._view

    def epoch(self, *, stage: int) -> float:
        """Return the work of an epoch with its validation."""
        return self.photos(self.num_photos, stage=stage) + self.validation(stage=stage)

    @property
    def total(self) -> float:
        """Work of all epochs of all stages."""
        return self.config.epochs * sum(self.epoch(stage=stage) for stage in range(self.num_stages))

    @property
    def _view(self) -> float:
        return (self.model.size / SIDE) ** 2
