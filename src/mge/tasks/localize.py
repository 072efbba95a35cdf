"""`mge localize`: weakly supervised localization."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mge.config import check_choice, check_whole
from mge.data.records import SPLITS, Split
from mge.storage.hub import check_place
from mge.storage.output import check_folder

if TYPE_CHECKING:
    from mge.evaluation.localization import LocatedPhoto
    from mge.report.box_files import Box, BoxRow

FILES = ("boxes.csv", "boxes.json", "localisation.json")


def localize(
    run: str | Path,
    data: str | Path | None = None,
    *,
    split: Split = "test",
    format: str = "auto",  # noqa: A002  (the flag's name)
    image_column: str | None = None,
    label_column: str | None = None,
    output: str | Path | None = None,
    batch_size: int = 16,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Localize objects by attention: write boxes (CSV, COCO), and evaluate them if the data has boxes.

    Examples:
        mge localize runs/birds
        mge localize runs/birds photos --split val --output boxes

    Args:
        run: Run folder or model folder.
        data: Labelled photos. Default: the data of the run.
        split: Split to use: `train`, `val` or `test`.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths. Default: found by its name or type.
        label_column: Column of `data` with the class labels. Default: found by its name or type.
        output: Folder for boxes.csv, boxes.json (COCO) and localisation.json. Default: `localisation-SPLIT` in the run
            folder.
        batch_size: Photos per batch.
        accelerator: Accelerator for Lightning Fabric: auto, cpu, cuda, mps.

    Returns:
        The results in percent: MaxBoxAcc, MaxBoxAccV2, top-1 and GT-known localization and the pointing game, per
        expert.

    Raises:
        ModelFolderError: `run` contains no complete model.
        DataError: the photos cannot be read, or have classes that the model does not know.
        ConfigError: an option has an invalid value, or the accelerator is not available.
    """
    check_choice("split", split, SPLITS)
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    check_place(run, output, flag="--output")
    folder = Path(run) / f"localisation-{split}" if output is None else Path(output)
    folder = check_folder(folder, flag="output", inputs=[] if data is None else [data], writes=FILES)
    from mge.console.progress import track_photos  # noqa: PLC0415
    from mge.console.tables import print_broken, print_notes  # noqa: PLC0415
    from mge.data.sources.columns import AskedColumns  # noqa: PLC0415
    from mge.evaluation.localization import locate, measure_localization  # noqa: PLC0415
    from mge.evaluation.seen_photos import leave_out_seen  # noqa: PLC0415
    from mge.evaluation.select import read_held_out, without_broken  # noqa: PLC0415
    from mge.inference.classifier import load_folder  # noqa: PLC0415
    from mge.inference.devices import one_device  # noqa: PLC0415
    from mge.report.box_files import as_coco, as_csv, print_localization  # noqa: PLC0415
    from mge.storage.files import write_text_atomically  # noqa: PLC0415

    path, columns = Path(run), AskedColumns(image_column, label_column)
    classifier = load_folder(path, fast=False)
    photos = read_held_out(path, data=data, source_format=format, classifier=classifier, columns=columns)
    if data is not None:
        photos = leave_out_seen(path, photos, split=split, even_so=split == "train")
    records, broken = without_broken(photos, split=split)
    classifier.model.to(one_device(accelerator).device)
    found = locate(classifier, records, batch_size=batch_size)
    located = list(track_photos(found, verb="localizing", total=len(records)))
    figures: dict[str, Any] = {
        "data": photos.name, "split": split, "num_photos": len(located), "num_broken": len(broken),
        "broken": [dataclasses.asdict(photo) for photo in broken], **measure_localization(located),
    }  # fmt: skip
    rows = [_as_row(each) for each in located]
    about = f"Attention boxes of the experts of {path.name} on the {split} photos of {photos.name}, by mge localize"
    coco = json.dumps(as_coco(rows, class_names=classifier.class_names, about=about)) + "\n"
    texts = (as_csv(rows), coco, json.dumps(figures, indent=1) + "\n")
    for name, text in zip(FILES, texts, strict=True):
        write_text_atomically(folder / name, text)
    print_notes(photos.notes)
    print_broken(broken, num_photos=len(records) + len(broken), file=folder / "localisation.json")
    print_localization(figures, folder=str(folder))
    return figures


def _as_row(located: LocatedPhoto) -> BoxRow:
    from mge.data.photo import as_text  # noqa: PLC0415
    from mge.report.box_files import BoxRow  # noqa: PLC0415

    def boxes(tensor: Any) -> list[Box]:  # noqa: ANN401  (a torch.Tensor, which is not imported here)
        return [tuple(box) for box in tensor.tolist()]

    record = located.record
    return BoxRow(
        as_text(str(record.path)), located.size, located.label, located.probability, record.label,
        boxes(located.views_xyxy), boxes(located.found_xyxy), record.box_xyxy,
    )  # fmt: skip
