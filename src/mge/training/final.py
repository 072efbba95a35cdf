"""The final figures of a run's best model, and the picture of what its experts saw."""

import functools
from typing import Any

from torch import Tensor

from mge.classifier import Classifier
from mge.config import ModelConfig
from mge.data.dataset import PhotoDataset
from mge.data.records import Split, spread_out
from mge.report.figures import draw_experts
from mge.report.tables import PICTURE
from mge.storage.chosen import read_thresholds
from mge.storage.model_folder import StoredModel, load_model, save_model
from mge.storage.run_folder import Run
from mge.training.cascade import MAX_ACCURACY_LOSS
from mge.training.choices import Choices, choose, measure_chosen, store_choices
from mge.training.explanation import explain_photos
from mge.training.gate_trust import TrustLosses, choose_trust, try_trusts, with_trust
from mge.training.measure import Answers, Keep, measure, run_over, summarise
from mge.training.session import Session

NUM_DRAWN = 8  # photos in the picture of what each expert saw


def measure_best(
    session: Session, run: Run, model_config: ModelConfig, *, stores_choices: bool = False
) -> dict[str, Any]:
    """Measures a run's best model on the test split, or on validation where there is none.

    Args:
        session: What all networks of the run have in common.
        run: The run.
        model_config: Its network.
        stores_choices: Whether validation photos choose how far the gate counts, the model's temperature and, where it
            has several experts, the thresholds of a cascade, to be stored with it.
    """
    split: Split = next((each for each in ("test", "val") if session.photos.split(each)), "train")
    photos = session.dataset(split, model=model_config)
    assert photos is not None
    val_photos = session.dataset("val", model=model_config) if stores_choices else None  # a cache decodes all of them
    stored = load_model(run.best)
    if val_photos is not None and model_config.experts > 1 and session.config.gate_trust == "chosen":
        stored = _temper_gate(session, run, stored, val_photos)
    answers = _ask(session, stored, photos)
    num_broken = sum(photo.split == split for photo in session.broken)
    figures = {"split": split, "num_broken": num_broken, **measure(answers)}
    if val_photos is not None:
        val_answers = answers if split == "val" else _ask(session, stored, val_photos)
        metadata = _choose(session, stored, val_answers)
        figures |= measure_chosen(metadata, answers, config=model_config)
        if session.fabric.is_global_zero:
            store_choices(run.best, stored, metadata)
    return figures


def draw_best(session: Session, run: Run, *, model_config: ModelConfig, split: Split) -> None:
    """Draws what each expert saw in a few photos, spread over a split."""
    photos = session.dataset(split, model=model_config)
    assert photos is not None
    indices = spread_out(range(len(photos)), count=NUM_DRAWN)
    explanations = explain_photos(Classifier.from_stored(load_model(run.best)), photos, indices=indices)
    run.report.mkdir(exist_ok=True)
    draw_experts(explanations, run.report / PICTURE, title=f"What each expert saw ({split} photos)")


def _choose(session: Session, stored: StoredModel, val_answers: Answers) -> dict[str, Any]:
    """What is known about the model, with what its answers about validation photos choose.

    What is chosen already stays: a run that was killed at its end chose it, or a person has since.
    """
    has_cascade = stored.config.experts == 1 or read_thresholds(stored.metadata) is not None
    choices = Choices(None if has_cascade else MAX_ACCURACY_LOSS, calibrate="calibration" not in stored.metadata)
    return choose(choices, stored.metadata, val_answers, config=stored.config)


def _temper_gate(session: Session, run: Run, stored: StoredModel, val_photos: PhotoDataset) -> StoredModel:
    """The model with its gate trusted as far as validation photos say, and stored so; only once."""
    if "gate_trust" not in stored.metadata:
        keep = functools.partial(try_trusts, mix=stored.config.mix)
        tried = TrustLosses(*_run_over(session, stored, val_photos, keep=keep))
        stored = with_trust(stored, choose_trust(tried.losses))
        if session.fabric.is_global_zero:
            stored = save_model(run.best, stored)
        session.fabric.barrier()
    return stored


def _ask(session: Session, stored: StoredModel, photos: PhotoDataset) -> Answers:
    """What a stored model answers, as it will when it is used: in float32."""
    return Answers(*_run_over(session, stored, photos, keep=functools.partial(summarise, mix=stored.config.mix)))


def _run_over(session: Session, stored: StoredModel, photos: PhotoDataset, *, keep: Keep) -> tuple[Tensor, ...]:
    model = Classifier.from_stored(stored).model.to(session.fabric.device)
    batch_size = session.config.photos_a_step
    return run_over(
        session.fabric, model, photos, keep=keep, batch_size=batch_size, in_float32=True, verb="measuring the best"
    )
