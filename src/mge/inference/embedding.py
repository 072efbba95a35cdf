"""Features of photos from any classifier that has them, and files of such features. Imports no torch."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mge.config import check_whole
from mge.data.photo import as_text
from mge.errors import ConfigError, DataError
from mge.inference.writers import EmbeddingForm, import_pyarrow

if TYPE_CHECKING:
    from mge.inference.prediction import AnyClassifier, Array, Photo

Named = tuple[str, "Array"]  # a photo's name and its features (D,)


def embed_each(
    classifier: "AnyClassifier[Any]", photos: "Iterable[Photo]", *, batch_size: int
) -> "Iterator[Array | DataError]":
    """Embed photos one batch after the other.

    Yields:
        For each photo, in order, its features (D,), or the error of reading it.
    """
    batch_size = check_whole("batch_size", batch_size, at_least=1)
    remaining = iter(photos)
    while batch := list(islice(remaining, batch_size)):
        prepared = [classifier.try_to_prepare(photo) for photo in batch]
        images = [item.image for item in prepared if not isinstance(item, DataError)]
        features = iter(classifier.features(images) if images else ())
        for item in prepared:
            yield item if isinstance(item, DataError) else next(features)


def embedding_form(output: Path) -> EmbeddingForm:
    """Return the format of a file of embeddings by its name.

    Raises:
        ConfigError: it has another suffix.
        MissingExtraError: what writes the format is not installed.
    """
    forms: tuple[EmbeddingForm, ...] = get_args(EmbeddingForm)
    for form in forms:
        if output.suffix.lower() == f".{form}":
            if form == "parquet":
                import_pyarrow()
            return form
    raise ConfigError(f"output is {str(output)!r}; accepted: a name that ends in .parquet or .npz")


def write_embeddings(rows: Iterable[Named], file: Path, *, form: EmbeddingForm, batch_size: int) -> None:
    """Write photos with their features: columns `path` and `embedding` in Parquet, arrays of these names in .npz.

    Args:
        rows: Names and features, read as they are written.
        file: The file.
        form: Its format. Parquet is written in parts, .npz from memory.
        batch_size: Rows of a part.
    """
    if form == "npz":
        listed = list(rows)
        matrix = np.stack([row for _, row in listed]) if listed else np.zeros((0, 0), dtype=np.float32)
        with file.open("wb") as opened:
            np.savez(opened, path=np.array([as_text(name) for name, _ in listed], dtype=np.str_), embedding=matrix)
        return
    pyarrow, parquet = import_pyarrow()
    remaining = iter(rows)
    first = list(islice(remaining, 1))
    width = len(first[0][1]) if first else 0
    kind = pyarrow.list_(pyarrow.float32(), width) if width else pyarrow.list_(pyarrow.float32())
    schema = pyarrow.schema([("path", pyarrow.string()), ("embedding", kind)])
    with parquet.ParquetWriter(file, schema) as writer:
        while part := [*first, *islice(remaining, batch_size)]:
            first = []
            names, features = [as_text(name) for name, _ in part], [row for _, row in part]
            writer.write_table(pyarrow.table([names, features], schema=schema))
