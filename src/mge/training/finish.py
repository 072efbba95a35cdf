"""Final metrics of a run's best model, and the picture of its experts' views."""

import dataclasses
import functools
from typing import Any

from torch import Tensor

from mge.config import ModelConfig
from mge.console.tables import PICTURE
from mge.data.dataset import PhotoDataset
from mge.data.records import Split, spread_out
from mge.evaluation.early_exit import MAX_ACCURACY_LOSS
from mge.evaluation.fit_parameters import FitOptions, fit_parameters, measure_fitted
from mge.evaluation.fusion import FusionLosses, apply_fusion, choose_fusion, fusion_losses, list_fusions
from mge.evaluation.run_model import EvalOutputs, Keep, measure, percent, run_over, summarize
from mge.inference.classifier import Classifier
from mge.report.explanation import explain_photos
from mge.report.figures import draw_experts
from mge.storage.fitted_parameters import read_thresholds
from mge.storage.model_folder import StoredModel, load_model, save_model
from mge.storage.run_folder import Run
from mge.training.session import Session

NUM_DRAWN = 8  # photos in the picture of what each expert saw


def measure_best(
    session: Session, run: Run, model_config: ModelConfig, *, stores_choices: bool = False
) -> dict[str, Any]:
    """Measure a run's best model on the test split, or on validation if there is none.

    Args:
        session: Shared state of the run's networks.
        run: The run.
        model_config: Its network as it was trained.
        stores_choices: Whether to fit the inference parameters on validation photos and store them with the model: the
            number of experts and their heads, the gate temperature, the softmax temperature and, if several experts
            remain, the early-exit thresholds.
    """
    split: Split = next((each for each in ("test", "val") if session.photos.split(each)), "train")
    photos = session.dataset(split, model=model_config)
    assert photos is not None
    val_photos = session.dataset("val", model=model_config) if stores_choices else None  # a cache decodes all of them
    stored = trained = load_model(run.best)
    if val_photos is not None and "gate_trust" not in trained.metadata:
        stored = _choose_fusion(session, trained, val_photos)
    answers = _predict(session, stored, photos)
    num_broken = sum(photo.split == split for photo in session.broken)
    figures = {"split": split, "num_broken": num_broken, **measure(answers)}
    if stores_choices and trained.config.experts > 1:
        is_whole = stored.config == trained.config
        whole = answers if is_whole else _predict(session, trained, photos)
        stored = _note_components(stored, whole)
        right = {"model": answers.logits.argmax(1) == answers.labels, "first": _first_is_right(whole)}
    else:
        right = {"model": answers.logits.argmax(1) == answers.labels}
    figures |= {"fusion": stored.metadata["fusion"]} if "fusion" in stored.metadata else {}
    metadata = stored.metadata
    if val_photos is not None:
        val_answers = answers if split == "val" else _predict(session, stored, val_photos)
        metadata = _choose(session, stored, val_answers)
        figures |= measure_fitted(metadata, answers, config=stored.config)
    if stores_choices and session.fabric.is_global_zero:
        run.write_right({name: hits.tolist() for name, hits in right.items()})
        if metadata != trained.metadata:
            save_model(run.best, dataclasses.replace(stored, metadata=metadata))
    return figures


def _first_is_right(answers: EvalOutputs) -> Tensor:
    """Return whether the first expert's large-part head, which is a plain network, is right for each photo."""
    return answers.large_labels[:, 0] == answers.labels


def _note_components(stored: StoredModel, whole: EvalOutputs) -> StoredModel:
    """Add the accuracies of the candidates to the model: the plain network in it, and all experts together."""
    figures = {"first_expert_top1": percent(_first_is_right(whole)), "all_experts_top1": measure(whole)["mixture_top1"]}
    fusion = {**figures, **stored.metadata.get("fusion", {})}  # what was noted before it was stored stays
    return dataclasses.replace(stored, metadata={**stored.metadata, "fusion": fusion})


def draw_best(session: Session, run: Run, *, model_config: ModelConfig, split: Split) -> None:
    """Draw the experts' views of a few photos, spread over a split."""
    photos = session.dataset(split, model=model_config)
    assert photos is not None
    indices = spread_out(range(len(photos)), count=NUM_DRAWN)
    explanations = explain_photos(Classifier.from_stored(load_model(run.best)), photos, indices=indices)
    run.report.mkdir(exist_ok=True)
    draw_experts(explanations, run.report / PICTURE, title=f"Expert views ({split} photos)")


def _choose(session: Session, stored: StoredModel, val_answers: EvalOutputs) -> dict[str, Any]:
    """Fit the missing inference parameters to the outputs for validation photos, and return the metadata.

    Existing parameters stay: a run that was killed at its end has fitted them, or a user has since.
    """
    has_cascade = stored.config.experts == 1 or read_thresholds(stored.metadata) is not None
    choices = FitOptions(None if has_cascade else MAX_ACCURACY_LOSS, calibrate="calibration" not in stored.metadata)
    return fit_parameters(choices, stored.metadata, val_answers, config=stored.config)


def _choose_fusion(session: Session, trained: StoredModel, val_photos: PhotoDataset) -> StoredModel:
    """Return the model with the fusion that is best on validation photos."""
    config = session.config
    if trained.config.experts == 1 or (config.fusion == "all" and config.gate_temperature == "none"):
        return trained
    fusions = list_fusions(trained.config, only_gate=config.fusion == "all")
    if config.gate_temperature == "none":
        fusions = [fusion for fusion in fusions if fusion.gate_scale == 1]
    keep = functools.partial(fusion_losses, fusions=fusions, mix=trained.config.mix)
    losses = FusionLosses(*_run_over(session, trained, val_photos, keep=keep)).losses
    return apply_fusion(trained, choose_fusion(losses, fusions))


def _predict(session: Session, stored: StoredModel, photos: PhotoDataset) -> EvalOutputs:
    """Run a stored model as in inference: in float32."""
    return EvalOutputs(*_run_over(session, stored, photos, keep=functools.partial(summarize, mix=stored.config.mix)))


def _run_over(session: Session, stored: StoredModel, photos: PhotoDataset, *, keep: Keep) -> tuple[Tensor, ...]:
    model = Classifier.from_stored(stored).model.to(session.fabric.device)
    batch_size = session.config.global_batch_size
    return run_over(
        session.fabric,
        model,
        photos,
        keep=keep,
        batch_size=batch_size,
        in_float32=True,
        verb="evaluating the best epoch",
    )
