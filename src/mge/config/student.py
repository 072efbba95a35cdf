"""Options of distillation, in addition to those of training."""

import dataclasses
from typing import Any

from mge.config.checks import Options, check_range


@dataclasses.dataclass(frozen=True)
class DistillConfig(Options):
    """Distillation options, in addition to those of training.

    Args:
        teacher: Run folder of the teacher, a mixture.
        teacher_sha256: SHA-256 of the teacher's weights, so that a resumed run uses the same teacher.
        temperature: Softmax temperature at which student and teacher are compared.
        teacher_weight: Weight of the distillation loss, from 0 to 1; the labels have the rest.
        zoomed_weight: Total loss weight of the teacher's zoomed views as extra training images; the whole photo has
            weight 1. 0 trains on whole photos only.
    """

    teacher: str
    teacher_sha256: str
    temperature: float = 4.0
    teacher_weight: float = 0.9
    zoomed_weight: float = 1.0

    def _check(self) -> None:
        check_range("temperature", self.temperature, at_least=0.1, at_most=1000)
        check_range("teacher_weight", self.teacher_weight, at_least=0, at_most=1)
        check_range("zoomed_weight", self.zoomed_weight, at_least=0)


def take_distillation(options: dict[str, Any]) -> DistillConfig | None:
    """Remove and return a student's options from the settings of a run; None for a mixture's settings."""
    names = [field.name for field in dataclasses.fields(DistillConfig) if field.name in options]
    taken = {name: options.pop(name) for name in names}
    return DistillConfig.from_dict(taken) if taken else None
