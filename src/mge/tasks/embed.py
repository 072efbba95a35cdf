"""`mge embed`: features of photos, as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mge.config import check_whole
from mge.errors import ConfigError, DataError
from mge.storage.output import check_file
from mge.tasks.predict import find_inputs

if TYPE_CHECKING:
    from mge.inference.embedding import Named


def embed(
    run: str | Path,
    photos: list[str],
    *,
    output: str | Path = "embeddings.parquet",
    batch_size: int = 16,
    device: str = "cpu",
) -> Path:
    """Embed photos: the experts' pooled features as a table, for similarity search and clusters.

    The features of a photo are those that each expert's large-part head reads, expert 0 (the whole photo) first.

    Examples:
        mge embed runs/birds folder
        mge embed runs/birds folder --output features.npz

    Args:
        run: Run folder, model folder, or hf:owner/name on the Hugging Face Hub.
        photos: Files, folders (searched recursively), patterns such as `shelf/*.jpg`, manifests with a column `path`
            (.csv, .tsv, .jsonl), Parquet files with a column of photos, and tar archives.
        output: File to write: .parquet with the columns `path` and `embedding`, or .npz with arrays of these names.
        batch_size: Photos per batch.
        device: PyTorch device, such as cpu or cuda.

    Returns:
        The file.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ConfigError: an option has an invalid value, or `run` is an .onnx file, which has no features.
        DataError: no photo was found. Photos that cannot be read are reported and left out.
    """
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    from mge.console.progress import track_photos  # noqa: PLC0415
    from mge.inference.batch_predict import name_some, processes  # noqa: PLC0415
    from mge.inference.embedding import embed_each, embedding_form, write_embeddings  # noqa: PLC0415
    from mge.inference.load import load  # noqa: PLC0415
    from mge.inference.prediction import name_of  # noqa: PLC0415
    from mge.storage.files import write_atomically  # noqa: PLC0415

    if processes()[1] > 1:
        raise ConfigError(f"{processes()[1]} processes would write the same file; start mge embed without torchrun")
    form = embedding_form(Path(output))
    place = check_file(output, flag="output")
    files = find_inputs(photos, run=run, place=place)
    classifier = load(run, device=device, fast=False)
    broken: list[str] = []

    def rows() -> Iterator[Named]:
        found = embed_each(classifier, files, batch_size=batch_size)
        for photo, result in zip(files, track_photos(found, verb="embedding", total=len(files)), strict=True):
            if isinstance(result, DataError):
                broken.append(str(result))
            else:
                yield name_of(photo), result

    write_atomically(place, lambda file: write_embeddings(rows(), file, form=form, batch_size=batch_size))
    sys.stderr.write(f"{len(files) - len(broken)} embeddings written to {output}\n")
    if broken:
        raise DataError(
            f"{len(broken)} of {len(files)} photos could not be read (the others were embedded): {name_some(broken)}"
        )
    return place
