"""`mge train`: training and evaluation of a mixture."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mge.config import PRESETS, Preset, complete_options
from mge.errors import ConfigError

if TYPE_CHECKING:
    from mge.storage.run_folder import Run


class DataFrame(Protocol):
    """A pandas data frame, as far as a type checker has to know it without pandas."""

    @property
    def columns(self) -> Iterable[Any]:
        """The names of its columns."""

    @property
    def iloc(self) -> Any:  # noqa: ANN401  (pandas' own)
        """Its cells by their numbers."""


def train(
    data: str | Path | DataFrame | None = None,
    *,
    preset: Preset = "default",
    out: str | Path | None = None,
    resume: str | Path | None = None,
    format: str = "auto",  # noqa: A002  (the flag's name)
    **options: Any,  # noqa: ANN401  (checked against the dataclasses of mge.config, the one place that lists them)
) -> Run:
    """Train a mixture-of-experts classifier and evaluate it on the test split.

    Examples:
        mge train photos --epochs 10
        mge train beetles --backbone resnet10t --size 128 --out runs/beetles

    Args:
        data: Folder of class folders, manifest, benchmark folder, Parquet or Arrow files, `hf:owner/name`, or `beetles`
            (built-in synthetic demo data). In Python also a pandas data frame with the columns of a manifest.
        preset: Preset that supplies the default values: `default` (fine-tuning of pretrained networks), `laptop`
            (heads on a frozen backbone, in minutes on a CPU), `best` (a modern backbone), `scratch` (no pretrained
            weights), `paper` or `authors`.
        out: Folder of the run. Default: a new folder in `runs/`.
        resume: Resume this run; all other options are read from it.
        format: How to read `data`: `auto`, or the name of a reader.
        options: Any field of `mge.config.ModelConfig`, `DataConfig` and `TrainConfig`.

    Returns:
        The run folder and its results.

    Raises:
        ConfigError: an option is unknown or has an invalid value.
        DataError: the photos cannot be used for training.
    """
    started = time.monotonic()
    if (data is None) == (resume is None):
        raise ConfigError("give either the data to train on, or --resume RUN to resume a run")
    from mge.models.backbone import pretrained_input  # noqa: PLC0415
    from mge.storage.model_folder import load_description  # noqa: PLC0415
    from mge.storage.run_folder import FIXED_THEN, NAMED, open_run  # noqa: PLC0415
    from mge.training.initial_weights import find_trained  # noqa: PLC0415
    from mge.training.run import train_run  # noqa: PLC0415

    if resume is not None:
        named = {"preset": preset != "default", "out": out is not None, "format": format != "auto"}
        given = [*(name for name, is_given in named.items() if is_given), *options]
        if given:
            raise ConfigError(f"--resume reads all options from the run; leave out {', '.join(given)}")
        settings = {**FIXED_THEN, **open_run(resume).config(*NAMED)}
        return train_run(settings, folder=Path(resume), is_new=False, started=started)
    source, manifest = _name_data_or_frame(data, options)
    resolved = complete_options(options, preset=preset)
    if "backbone" not in options and (trained := find_trained(resolved["weights"])) is not None:
        resolved["backbone"] = load_description(trained).config.backbone
    if "size" not in {**PRESETS[preset], **options}:
        resolved["size"] = pretrained_input(resolved["backbone"]).size or resolved["size"]
    settings = {"data": source, "format": format, "preset": preset, **resolved}
    folder = None if out is None else Path(out)
    return train_run(settings, folder=folder, is_new=True, manifest=manifest, started=started)


def name_data(data: str | os.PathLike[str]) -> str:
    """Return the name of the data in a run's configuration: an absolute path, or the name of a data set unchanged."""
    from mge.data.sources import check_is_path, is_name  # noqa: PLC0415

    check_is_path(data)
    return str(data) if is_name(str(data)) else str(Path(data).resolve())


def _name_data_or_frame(data: object, options: dict[str, Any]) -> tuple[str, str | None]:
    """Return the name of the data in the configuration, and the text of a manifest if they are a data frame.

    The manifest has our names of the columns, so that names which were given are taken out of the options.
    """
    from mge.data.sources.columns import AskedColumns  # noqa: PLC0415
    from mge.data.sources.frame import frame_to_manifest, is_frame  # noqa: PLC0415

    if is_frame(data):
        columns = AskedColumns(options.pop("image_column", None), options.pop("label_column", None))
        return "frame", frame_to_manifest(data, folder=Path.cwd(), asked=columns)
    if not isinstance(data, str | os.PathLike):
        raise ConfigError(
            f"data is a {type(data).__module__}.{type(data).__name__}; accepted: a path, hf:owner/name, or a pandas "
            "data frame"
        )
    return name_data(data), None
