"""Training and evaluation of one network of a run: the mixture, a student, or a plain baseline."""

import dataclasses
import functools
from typing import Any, cast

import torch

from mge.config import DistillConfig, ModelConfig
from mge.console.display import Display
from mge.console.tables import print_notes
from mge.errors import DataError
from mge.evaluation.alarms import chance_alarm, loss_alarm
from mge.evaluation.verdict import PLAIN
from mge.inference.classifier import Classifier
from mge.inference.devices import synchronizes_batch_norm
from mge.models.backbone import synchronize_batch_norm
from mge.models.mixture import DENSE_UP_TO, MOST_PART_FILTERS, MixtureOfExperts
from mge.storage.files import remove
from mge.storage.model_folder import load_model
from mge.storage.run_folder import CACHE, Run
from mge.training.baselines import Plan
from mge.training.batch_size import explain_memory
from mge.training.distillation import StudentStep, match_classes, open_teacher
from mge.training.feature_cache import FeatureCache
from mge.training.finish import measure_best
from mge.training.initial_weights import copy_weights, find_trained
from mge.training.loop import Training
from mge.training.session import Session
from mge.training.start import enter_part
from mge.training.step import Step
from mge.training.student_photos import check_held_out


def train_network(
    session: Session, model_config: ModelConfig, *, run: Run, title: str, step: Step | None = None
) -> dict[str, Any]:
    """Train one network, or resume its training, and measure its best epoch.

    Args:
        session: Shared state of the run's networks.
        model_config: The network.
        run: Its run.
        title: Name shown to users.
        step: Training step for each batch. None: `train_step`.

    Returns:
        The metrics of its summary.json. A finished network is not trained again.
    """
    if done := run.summary():
        return done
    fabric = session.fabric
    model = _build(session, model_config)
    photos = session.dataset("train", model=model_config, is_training=True)
    assert photos is not None, "read_photos refuses data without training photos"
    if len(photos) < fabric.world_size:
        raise DataError(
            f"{len(photos)} training photos are too few for {fabric.world_size} processes; use fewer processes"
        )
    val_photos = session.dataset("val", model=model_config)
    display = Display(title, is_quiet=not fabric.is_global_zero)
    _note_parts(display, model_config, model=model)
    cache = None
    if session.config.cached_views:
        cache = FeatureCache(
            run.folder / CACHE, photos=photos, val_photos=val_photos, config=session.config, fabric=fabric
        )
    training = Training(
        fabric, model.to(fabric.device), photos=photos, val_photos=val_photos, run=run, config=session.config,
        data=session.data, display=display, save_model=session.save_model, step=step, cache=cache,
        tell_pace=session.tell_pace,
        limit=None if session.limit is None else functools.partial(session.limit.for_stage, title),
    )  # fmt: skip
    with explain_memory(session.config):
        training.fit(resume=run.checkpoint_path.exists())
        remove(run.folder / CACHE)
        fabric.barrier()
        summary = measure_best(session, run, model_config, stores_choices=True)
    summary["alarms"] = _alarms(session, run, title=title)
    if fabric.is_global_zero:
        run.write_summary(summary)
    return summary


def _alarms(session: Session, run: Run, *, title: str) -> list[str]:
    """Return the signs in a network's metrics that its training went wrong."""
    rows, settings = run.metrics(), run.config()
    last = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    labels = [record.label for record in session.photos.split("val")]
    num_classes = len(session.photos.class_names)
    alarm = loss_alarm(last, network=title, num_classes=num_classes, settings=settings)
    alarm = alarm or chance_alarm(last, labels, network=title, settings=settings)
    return [alarm] if alarm else []


def train_plain(session: Session, name: str, plan: Plan, *, run: Run) -> float:
    """Train a plain network, as a run inside the mixture's, and return its accuracy."""
    model_config, config = plan
    options = {**run.config(), **model_config.to_dict(), **config.to_dict()}
    plain_run = enter_part(session.fabric, options, run.folder / name)
    plain = dataclasses.replace(session, config=config)
    summary = train_network(plain, model_config, run=plain_run, title=PLAIN[name])
    top1: float = summary["mixture_top1"]
    return top1


def train_student(
    session: Session, model_config: ModelConfig, distillation: DistillConfig, *, run: Run, title: str
) -> dict[str, Any]:
    """Train a student, and measure it, its teacher, and the teacher's plain baselines on the same photos."""
    done = run.summary()
    if "teacher_top1" in done:
        return done
    teacher, stored = open_teacher(distillation)
    order = torch.tensor(match_classes(session.photos, stored.class_names), device=session.fabric.device)
    check_held_out(session.fabric, session.photos, settings=run.config(), data=session.data, teacher=teacher)
    mixture = Classifier.from_stored(stored).model.to(session.fabric.device)
    if session.config.channels_last:
        mixture = mixture.to(memory_format=torch.channels_last)
    step = StudentStep(mixture, order, distillation)
    summary = train_network(session, model_config, run=run, title=title, step=step)
    known = {"teacher": teacher, **{name: Run(teacher.folder / name) for name in ("plain", "plain_equal_compute")}}
    for name, other in known.items():
        if other.best.is_dir():
            config = load_model(other.best).config
            summary[f"{name}_top1"] = measure_best(session, other, config)["mixture_top1"]
    return {"student_top1": summary["mixture_top1"], **summary}


def _build(session: Session, model_config: ModelConfig) -> MixtureOfExperts:
    """Build the network with its initial weights, which depend on the seed."""
    config = session.config
    torch.manual_seed(config.seed)
    trained = find_trained(config.weights)
    class_names = session.photos.class_names
    model = MixtureOfExperts(
        model_config, num_classes=len(class_names), pretrained=config.pretrained and trained is None,
        weights=config.weights if trained is None else None,
    )  # fmt: skip
    if trained is not None:
        note = copy_weights(load_model(trained), model, class_names=class_names)
        if session.fabric.is_global_zero:
            print_notes([note])
    if synchronizes_batch_norm(config, session.fabric):
        model = cast(MixtureOfExperts, synchronize_batch_norm(model))
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.measure_offset and model_config.experts > 1:
        model.measure_offset()
    return model


def _note_parts(display: Display, model_config: ModelConfig, *, model: MixtureOfExperts) -> None:
    """Print a note if the number of classes has determined the part filters or their head."""
    num_classes, num_parts = model.num_classes, model.config.part_filters
    if model_config.part_filters == "auto" and num_parts != MOST_PART_FILTERS:
        display.note(
            f"part_filters is {num_parts} per class for {num_classes} classes (auto: fewer for more classes); the "
            f"authors' program has --part-filters {MOST_PART_FILTERS}"
        )
    if model_config.part_head == "auto" and model_config.has_parts and num_classes > DENSE_UP_TO:
        display.note(
            f"part_head is classwise for {num_classes} classes (auto: from {DENSE_UP_TO + 1} on): each class reads "
            "only its own part filters; --part-head dense reads all of them, as in the paper"
        )
