"""The options of a student beside those of every training."""

import dataclasses
from typing import Any

from mge.config.checks import Options, check_range


@dataclasses.dataclass(frozen=True)
class DistillConfig(Options):
    """What a student learns from, beside the options of every training: `mge distill`.

    Args:
        teacher: Run folder of the teacher, a mixture.
        teacher_sha256: Of the teacher's weights, so that a run goes on with the teacher that it began with.
        temperature: What logits are divided by before student and teacher are compared.
        teacher_weight: How much the teacher's answer counts, from 0 to 1; the labels have the rest.
        zoomed_weight: How much the teacher's zoomed views, as further training pictures, count together beside the
            whole photo. 0 leaves them out.
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
