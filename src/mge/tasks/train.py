"""`mge train`: photos in, a trained and measured mixture out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mge.config import PRESETS, Preset, split_options
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
    """Trains a mixture of experts on photos, and measures it.

    Args:
        data: Folder of class folders, manifest, benchmark folder, Parquet or Arrow files, `hf:owner/name`, or
            `beetles`, the drawn demo data set. In Python also a pandas data frame with a manifest's columns.
        preset: Preset that supplies the default values: `default` (fine-tuning of pretrained networks), `best` (a
            current backbone), `scratch` (without pretrained weights), `paper` or `authors`.
        out: Folder of the run. By default a new one in `runs/`.
        resume: A run folder to go on with; everything else is read from it.
        format: How to read `data`: `auto`, or the name of a reader.
        options: Any field of `mge.config.ModelConfig`, `DataConfig` and `TrainConfig`.

    Returns:
        The run's folder and figures.

    Raises:
        ConfigError: an option is unknown or has a value that it cannot take.
        DataError: the photos are not what training needs.
    """
    if (data is None) == (resume is None):
        raise ConfigError("give either the data to train on, or --resume RUN to go on with a run")
    from mge.models.backbone import pretrained_input  # noqa: PLC0415
    from mge.storage.run_folder import FIXED_THEN, NAMED, open_run  # noqa: PLC0415
    from mge.training.run import train_run  # noqa: PLC0415

    if resume is not None:
        named = {"preset": preset != "default", "out": out is not None, "format": format != "auto"}
        given = [*(name for name, is_given in named.items() if is_given), *options]
        if given:
            raise ConfigError(f"--resume goes on with the options of the run; leave out {', '.join(given)}")
        return train_run({**FIXED_THEN, **open_run(resume).config(*NAMED)}, folder=Path(resume), is_new=False)
    source, manifest = _name_data_or_frame(data, options)
    resolved: dict[str, Any] = {}
    for config in split_options(options, preset=preset):
        resolved |= config.to_dict()
    if "size" not in {**PRESETS[preset], **options}:
        resolved["size"] = pretrained_input(resolved["backbone"]).size or resolved["size"]
    _note_patience(options, resolved)
    settings = {"data": source, "format": format, "preset": preset, **resolved}
    return train_run(settings, folder=None if out is None else Path(out), is_new=True, manifest=manifest)


def _note_patience(options: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    """Say so where `patience` is given as other tools mean it, and does nothing: there is one process."""
    is_alone = resolved["devices"] == "1" and resolved["nodes"] == 1 and os.environ.get("WORLD_SIZE", "1") == "1"
    if "patience" in options and is_alone:
        sys.stderr.write(
            "Note: patience is how many seconds several processes wait for each other, and there is one; training "
            "does not stop early: the best epoch on validation photos is kept, so give the most --epochs that there is "
            "time for\n"
        )


def name_data(data: str | os.PathLike[str]) -> str:
    """What a run's configuration calls its data, wherever it is gone on with: an absolute path, or a name as it is."""
    from mge.data.sources import check_is_path, is_name  # noqa: PLC0415

    check_is_path(data)
    return str(data) if is_name(str(data)) else str(Path(data).resolve())


def _name_data_or_frame(data: object, options: dict[str, Any]) -> tuple[str, str | None]:
    """What the run's configuration calls the data, and the manifest that has to be written where they are a frame.

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
