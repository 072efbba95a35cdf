"""`mge explain`: why a trained mixture says what it says about photos, in pictures."""

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
    """Draws what each expert saw, where it looked, what it said and how much it counted, one picture a photo.

    Args:
        run: A run folder or a model folder.
        photos: Files, folders (with everything below them) and patterns such as `shelf/*.jpg`.
        against: A class: what speaks for the answer and not for this one is drawn too. Where the answer is this class
            itself, the next likely one takes its place.
        output: Folder for the pictures, and for index.html where there are several.
        batch_size: Photos at a time.
        device: Where it runs, as torch names it.

    Returns:
        The pictures, in the order of the photos.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ConfigError: an option has a value that it cannot take, or the model has no such class.
        DataError: there is no such photo. A photo that cannot be read is reported, and the others are explained.
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
    album = GalleryWriter(folder, title=f"What the experts saw: {Path(run).name}", num_photos=len(files))
    broken = []
    explained = explain_stream(classifier, files, other_label=other_label, batch_size=batch_size)
    for result in track_photos(explained, verb="explaining", total=len(files)):
        if isinstance(result, DataError):
            broken.append(str(result))
            album.pass_over()
        else:
            album.add(result)
    written = album.finish()
    sys.stderr.write(f"{len(album.pictures)} pictures written to {output}\n")
    if written is not None:
        sys.stderr.write(f"Next: open {written}\n")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(files)} photos could not be read, the others were explained: {name_some(broken)}"
        )
    return album.pictures


def _each(photos: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """What a person names, of which there may be one that is in no list."""
    return [photos] if isinstance(photos, str | Path) else list(photos)
