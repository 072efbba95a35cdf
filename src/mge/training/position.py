"""Where a run stands, as its checkpoint says it."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mge.errors import ModelFolderError
from mge.storage.run_folder import Run
from mge.training.tally import Tally


@dataclasses.dataclass
class Position:
    """Where a run stands: the next batch to train on, and what the epoch has measured before it."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    best_score: tuple[float, float] = (-1.0, -math.inf)
    tally: Tally = dataclasses.field(default_factory=Tally)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Position":
        """The position that `dataclasses.asdict` wrote."""
        return cls(**{**saved, "best_score": tuple(saved["best_score"]), "tally": Tally(**saved["tally"])})


@contextlib.contextmanager
def explain_misfit(run: Run) -> Iterator[None]:
    """Says that a checkpoint is not this run's, where its parts do not fit."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFolderError(
            f"{run.checkpoint_path} is not the checkpoint of this run: {reason}; copy it again or train anew"
        ) from error
