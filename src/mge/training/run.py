"""A complete training run: from photos to a folder with a trained and measured mixture."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from mge.config import ModelConfig, split_options, take_distillation, write_normalization
from mge.console.tables import print_summary
from mge.data.sources import read_photos
from mge.errors import ConfigError, StorageError
from mge.evaluation.verdict import PLAIN, describe_verdict
from mge.inference.devices import build_fabric, check_shares
from mge.models.backbone import pretrained_input
from mge.storage.run_folder import NAMED, Run
from mge.training.baselines import Plan, plan_baselines
from mge.training.finish import draw_best
from mge.training.forecast import Forecast
from mge.training.network import train_network, train_plain, train_student
from mge.training.session import Session, open_session
from mge.training.start import begin_run, has_begun, resume_run
from mge.training.student_photos import split_as_teacher
from mge.training.time_limit import TimeLimit

_TRAINING = threading.RLock()


def train_run(
    settings: Mapping[str, Any], *, folder: Path | None, is_new: bool, manifest: str | None = None,
    started: float | None = None,
) -> Run:  # fmt: skip
    """Train a student, or a mixture and its plain baselines, as the settings specify.

    The plain networks are runs of their own, in folders inside the run's.

    Args:
        settings: Content of `config.yaml`: the data, their format, the preset and every option.
        folder: The run's folder. None: a new one in `runs/`.
        is_new: Whether to create it; an existing run is resumed.
        manifest: Text of a manifest that a new run stores as its data, in place of the data in the settings.
        started: Time of the monotonic clock from which a time limit counts. None: now.

    Returns:
        The finished run.
    """
    started = time.monotonic() if started is None else started
    settings = follow_weights(settings)
    options = dict(settings)
    _, source_format, preset = (options.pop(name, "") for name in NAMED)
    distillation = take_distillation(options)
    model_config, data_config, config = split_options(options, preset=preset)
    fabric = build_fabric(config)
    check_shares(config, world=fabric.world_size)
    entered = (
        resume_run(fabric, settings, folder)
        if folder is not None and not is_new
        else begin_run(fabric, settings, folder, manifest=manifest)
    )
    with entered as run, _one_at_a_time(fabric), _told_how_to_resume(run):
        data = run.data() if manifest is None else run.manifest_path
        with fabric.rank_zero_first():  # one process draws the beetles, the others find them
            photos = read_photos(data, config=data_config, seed=config.seed, format=source_format)
        if distillation is not None:
            photos = split_as_teacher(fabric, photos, run=run, teacher=Path(distillation.teacher))
        session = open_session(fabric, photos, model_config, data_config, config, run=run)
        _check_early_stop(session)
        title = "mixture" if model_config.experts > 1 else "network"
        if distillation is not None:
            title = f"student of {Path(distillation.teacher).name}"
        baselines = plan_baselines(model_config, session.config)
        session = _with_forecast(session, baselines, model_config, title=title, run=run, started=started)
        plain = {f"{name}_top1": train_plain(session, name, plan, run=run) for name, plan in baselines.items()}
        if distillation is None:
            summary = train_network(session, model_config, run=run, title=title)
        else:
            summary = train_student(session, model_config, distillation, run=run, title=title)
        if fabric.is_global_zero:
            alarms = [each for name in baselines for each in Run(run.folder / name).summary().get("alarms", [])]
            alarms = list(dict.fromkeys([*alarms, *summary.get("alarms", [])]))  # a finished run has them already
            figures = {**summary, **plain, "alarms": alarms}
            run.write_summary({**figures, **describe_verdict(run, figures)})
            draw_best(session, run, model_config=model_config, split=summary["split"])
            print_summary(run)
        return run


def follow_weights(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with `auto` preprocessing replaced by that of the backbone's pretrained weights.

    Raises:
        ConfigError: timm has no such backbone.
    """
    open_to_weights = [name for name in ("normalization", "interpolation") if str(settings.get(name)) == "auto"]
    if not open_to_weights:
        return dict(settings)
    wanted = pretrained_input(settings["backbone"])
    found = {"normalization": write_normalization(wanted.mean, wanted.std), "interpolation": wanted.interpolation}
    return {**settings, **{name: found[name] for name in open_to_weights}}


def _check_early_stop(session: Session) -> None:
    """Raise ConfigError if early stopping has no validation photos to go by."""
    if session.config.early_stop and not session.photos.split("val"):
        raise ConfigError(
            f"early_stop is {session.config.early_stop}, but there are no validation photos; give --val-fraction 0.1, "
            "or leave it out"
        )


def _with_forecast(
    session: Session, baselines: Mapping[str, Plan], model_config: ModelConfig, *, title: str, run: Run, started: float
) -> Session:
    """Return the session with the forecast and the time limit of the networks that are still to be trained."""
    left = {PLAIN[name]: plan for name, plan in baselines.items() if not Run(run.folder / name).summary()}
    networks = {**left, title: (model_config, session.config)}
    seconds = session.config.limit_seconds
    forecast = Forecast(session.fabric, session.photos, run.config()["data"], networks, limit=seconds)
    limit = None if seconds is None else TimeLimit(seconds, started, _seconds_of(run), forecast)
    return dataclasses.replace(session, tell_pace=forecast.tell, limit=limit)


def _seconds_of(run: Run) -> float:
    """Return the seconds of training that a resumed run has spent before."""
    runs = [run, *(Run(run.folder / name) for name in PLAIN)]
    return float(sum(row["seconds"] for each in runs for row in each.metrics()))


@contextlib.contextmanager
def _one_at_a_time(fabric: Fabric) -> Iterator[None]:
    """Serialise trainings of several threads, since they share torch's random generators, which training seeds.

    The state of the generators is restored afterwards.
    """
    with _TRAINING, torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def _told_how_to_resume(run: Run) -> Iterator[None]:
    """Add the command that resumes a run to errors of a full or missing disk."""
    try:
        yield
    except StorageError as error:
        if has_begun(run):
            raise StorageError(f"{error}, then resume with: {run.resume_command}") from error
        raise
