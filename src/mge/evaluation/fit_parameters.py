"""What validation photos choose for a trained mixture, and what is stored with it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mge.config import ModelConfig
from mge.errors import ModelFolderError
from mge.evaluation.early_exit import choose_cascade, measure_cascade
from mge.evaluation.rejection import TARGET_ERROR, choose_rejection, measure_rejection
from mge.evaluation.run_model import EvalOutputs
from mge.evaluation.temperature import choose_temperature, describe_calibration
from mge.storage.fitted_parameters import read_temperature, read_thresholds
from mge.storage.model_folder import StoredModel, load_description, save_model
from mge.storage.run_folder import hold_model

ChooseAgain = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """What is to be chosen anew.

    Args:
        max_accuracy_loss: Points that a cascade may lose. None: the cascade stays as it is.
        calibrate: Whether to fit a temperature.
        reject: `auto` chooses the probability below which photos are unknown, a number is that probability, `off` takes
            it away, None leaves it.
        target_error: Share of the accepted photos that may be wrong, where it is chosen.
    """

    max_accuracy_loss: float | None = None
    calibrate: bool = False
    reject: Literal["auto", "off"] | float | None = None
    target_error: float = TARGET_ERROR

    @property
    def is_any(self) -> bool:
        """Whether anything is to be chosen."""
        return self.needs_photos or self.reject is not None

    @property
    def needs_photos(self) -> bool:
        """Whether validation photos have to be asked."""
        return self.max_accuracy_loss is not None or self.calibrate or self.reject == "auto"


def fit_parameters(
    choices: FitOptions, metadata: Mapping[str, Any], val_answers: EvalOutputs | None, *, config: ModelConfig
) -> dict[str, Any]:
    """What is known about a model, with what was to be chosen.

    A new temperature takes the old threshold of rejection away: it was one of other probabilities. Thresholds of a
    cascade that no longer say anything are left out.

    Args:
        choices: What is to be chosen.
        metadata: What is stored with the model so far.
        val_answers: What it says about validation photos; None where nothing needs them.
        config: Its architecture.
    """
    chosen = dict(metadata)
    if read_thresholds(metadata) is None:
        chosen.pop("cascade", None)  # of a former MGE, whose thresholds were of something else
    if val_answers is not None and choices.max_accuracy_loss is not None:
        chosen["cascade"] = choose_cascade(val_answers, config=config, max_accuracy_loss=choices.max_accuracy_loss)
    if val_answers is not None and (choices.calibrate or (choices.reject == "auto" and "calibration" not in metadata)):
        chosen["calibration"] = choose_temperature(val_answers)
        if read_temperature(chosen) != read_temperature(metadata):
            chosen.pop("rejection", None)
    if choices.reject == "off":
        chosen.pop("rejection", None)
    elif val_answers is not None and choices.reject == "auto":
        temperature = chosen["calibration"]["temperature"]
        chosen["rejection"] = choose_rejection(val_answers, temperature=temperature, target_error=choices.target_error)
    elif isinstance(choices.reject, float | int):
        chosen["rejection"] = {"threshold": float(choices.reject)}
    return chosen


def measure_fitted(metadata: Mapping[str, Any], answers: EvalOutputs, *, config: ModelConfig) -> dict[str, Any]:
    """What the stored cascade, temperature and rejection are worth on some photos."""
    calibration = describe_calibration(metadata, answers)
    figures: dict[str, Any] = {"calibration": calibration}
    if "cascade" in metadata:
        cascade = metadata["cascade"]
        figures["cascade"] = cascade | measure_cascade(answers, cascade["leads"], config=config)
    if "rejection" in metadata:
        rejection = metadata["rejection"]
        figures["rejection"] = rejection | measure_rejection(
            answers, threshold=rejection["threshold"], temperature=calibration["temperature"]
        )
    return figures


def store_parameters(
    folder: Path, stored: StoredModel, metadata: Mapping[str, Any], *, again: ChooseAgain | None = None
) -> StoredModel:
    """Writes the model folder anew with what was chosen, unless that is what it holds already.

    Args:
        folder: The model folder, where another process may have stored other choices in the meantime.
        stored: What was read from there, and measured.
        metadata: The same with what was chosen.
        again: Makes the same choice for a model about which more is known by now. None: nobody else can have changed
            it.

    Raises:
        ModelFolderError: its weights are no longer those that were measured, or nothing can be chosen again.
        InUseError: another process is training it.
        StorageError: it cannot be written.
    """
    chosen = dataclasses.replace(stored, metadata=dict(metadata))
    if chosen.metadata == stored.metadata:
        return chosen
    with hold_model(folder):
        now = load_description(folder)
        is_other = now.metadata != stored.metadata
        if now.weights_sha256 != stored.weights_sha256 or (is_other and again is None):
            raise ModelFolderError(
                f"the model in {folder} was changed while it was measured, and nothing was stored; give the same "
                "command again"
            )
        if is_other and again is not None:
            chosen = dataclasses.replace(stored, metadata=again(now.metadata))
        return save_model(folder, chosen)
