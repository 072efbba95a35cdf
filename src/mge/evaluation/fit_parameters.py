"""Inference parameters of a trained mixture that are fitted on validation photos and stored with it."""

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
    """The inference parameters to fit.

    Args:
        max_accuracy_loss: Points of accuracy that early exit may lose. None: early exit stays as it is.
        calibrate: Whether to fit a temperature.
        reject: `auto` fits the probability below which photos are unknown, a number is that probability, `off` removes
            it, None leaves it.
        target_error: Highest error rate of the accepted photos, for `auto`.
    """

    max_accuracy_loss: float | None = None
    calibrate: bool = False
    reject: Literal["auto", "off"] | float | None = None
    target_error: float = TARGET_ERROR

    @property
    def is_any(self) -> bool:
        """True if any parameter is to be changed."""
        return self.needs_photos or self.reject is not None

    @property
    def needs_photos(self) -> bool:
        """True if validation photos are needed."""
        return self.max_accuracy_loss is not None or self.calibrate or self.reject == "auto"


def fit_parameters(
    choices: FitOptions, metadata: Mapping[str, Any], val_answers: EvalOutputs | None, *, config: ModelConfig
) -> dict[str, Any]:
    """Fit the requested inference parameters, and return the model's metadata with them.

    A new temperature invalidates the old rejection threshold, which referred to other probabilities. Early-exit
    thresholds of an outdated format are removed.

    Args:
        choices: The parameters to fit.
        metadata: Metadata stored with the model so far.
        val_answers: Its outputs for validation photos; None if none are needed.
        config: Its architecture.
    """
    chosen = dict(metadata)
    if read_thresholds(metadata) is None:
        chosen.pop("cascade", None)  # from an older version, with thresholds of another quantity
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
    """Measure the stored early exit, temperature and rejection on some photos."""
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
    """Rewrite the model folder with the fitted parameters, unless it has them already.

    Args:
        folder: The model folder, which another process may have changed in the meantime.
        stored: The model as it was read from there and measured.
        metadata: The same metadata with the fitted parameters.
        again: Fits the same parameters for newer metadata of the model. None: no other process can have changed it.

    Raises:
        ModelFolderError: its weights are no longer those that were measured, or nothing can be fitted again.
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
                f"the model in {folder} was changed during the evaluation; nothing was stored; run the same command "
                "again"
            )
        if is_other and again is not None:
            chosen = dataclasses.replace(stored, metadata=again(now.metadata))
        return save_model(folder, chosen)
