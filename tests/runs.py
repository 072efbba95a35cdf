"""Model folders and runs that tests make for themselves, without training."""

from pathlib import Path
from typing import Any

from mge.config import DataConfig
from mge.data.sources import read_photos
from mge.evaluation.inspection import digest_photos
from mge.evaluation.recorded_photos import describe_known, describe_photos
from mge.storage.model_folder import StoredModel, save_model
from mge.storage.photo_record import write_known_photos
from mge.storage.run_folder import Run
from tests.models.networks import build
from tests.photos import COLORS


def write_model(folder: Path, *, class_names: tuple[str, ...] = tuple(COLORS), **options: Any) -> Path:  # noqa: ANN401
    """The model folder of a mixture that has learned nothing, and answers all the same."""
    model = build(num_classes=len(class_names), **options)
    data = DataConfig().to_dict()
    metadata = {"preprocessing": {name: data[name] for name in ("resize", "crop_fraction")}}
    save_model(folder, StoredModel(model.config, class_names, dict(model.state_dict()), metadata))
    return folder


def write_run(folder: Path, *, data: Path, keeps_record: bool = False, **options: Any) -> Path:  # noqa: ANN401
    """A run that did not train: its settings, and a model with random weights."""
    settings = {"data": str(data), "format": "auto", "seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}
    run = Run.create(folder, config=settings)
    write_model(run.best, **options)
    if keeps_record:
        photos = read_photos(data, config=DataConfig(), is_for_training=False)
        write_known_photos(folder, describe_known(photos, data=run.data(), digests=digest_photos(photos.records)))
        run.write_origin(describe_photos(photos))
    return folder
