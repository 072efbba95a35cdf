"""`mge explain`: visual explanations of predictions."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from mge.config import check_whole
from mge.errors import DataError
from mge.storage.output import check_folder


def explain(
    run: str | Path,
    photos: list[str],
    *,
    against: str | None = None,
    output: str | Path = "explained",
    batch_size: int = 16,
    device: str = "cpu",
) -> list[Path]:
    """Explain predictions in pictures: input, attention map, prediction and gate weight of each expert.

    Examples:
        mge explain runs/birds photo.jpg
        mge explain runs/birds photo.jpg --against Sparrow

    Args:
        run: Run folder or model folder.
        photos: Files, folders (searched recursively) and patterns such as `shelf/*.jpg`.
        against: A class to contrast with: also draw the evidence for the predicted class over this one. If this class
            is the prediction itself, the second most likely class is used.
        output: Folder for the pictures, with an index.html if there are several.
        batch_size: Photos per batch.
        device: PyTorch device, such as cpu or cuda.

    Returns:
        The pictures, in the order of the photos.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ConfigError: an option has an invalid value, or the model does not have this class.
        DataError: no photo was found. Photos that cannot be read are reported; the others are explained.
    """
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    check_folder(output, flag="output")
    from mge.console.progress import track_photos  # noqa: PLC0415
    from mge.data.sources import find_photos  # noqa: PLC0415
    from mge.inference.batch_predict import name_some  # noqa: PLC0415
    from mge.inference.classifier import load_folder  # noqa: PLC0415
    from mge.report.explanation import explain_stream, find_class  # noqa: PLC0415
    from mge.report.gallery_writer import GalleryWriter  # noqa: PLC0415

    files = find_photos(photos)
    folder = check_folder(output, flag="output", inputs=[*_each(photos), *files], writes=("*.png", "index*.html"))
    classifier = load_folder(run, device=device, fast=False)
    other_label = None if against is None else find_class(against, classifier.class_names)
    album = GalleryWriter(folder, title=f"Explanations: {Path(run).name}", num_photos=len(files))
    broken = []
    explained = explain_stream(classifier, files, other_label=other_label, batch_size=batch_size)
    for result in track_photos(explained, verb="explaining", total=len(files)):
        if isinstance(result, DataError):
            broken.append(str(result))
            album.pass_over()
        else:
            album.add(result)
    written = album.finish()
    count = len(album.pictures)
    sys.stderr.write(f"{count} picture{'s' * (count != 1)} written to {output}/\n")
    if written is not None:
        sys.stderr.write(f"Next: open {written}\n")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(files)} photos could not be read (the others were explained): {name_some(broken)}"
        )
    return album.pictures


def _each(photos: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Return the photos as a list, also if a single one is given."""
    return [photos] if isinstance(photos, str | Path) else list(photos)
