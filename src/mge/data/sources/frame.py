"""A pandas data frame with the columns of a manifest. pandas is its owner's: nothing here imports it."""

import json
import sys
from pathlib import Path
from typing import Any

from mge.data.sources.columns import BY_NAME, AskedColumns, find_columns
from mge.data.sources.rows import RowReader


def is_frame(data: object) -> bool:
    """Return whether this is a pandas data frame. Where pandas is not imported, there can be none."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def frame_to_manifest(frame: Any, *, folder: Path, asked: AskedColumns = BY_NAME) -> str:  # noqa: ANN401  (pandas is not imported)
    """Return the rows of a data frame as the text of a JSONL manifest, with absolute paths.

    Args:
        frame: A pandas data frame with the columns of a manifest. Other columns are of no interest.
        folder: Where its relative paths start.
        asked: The columns that a person named.

    Raises:
        ConfigError: it does not have a column that was asked for.
        DataError: a column is missing or there twice, a value makes no sense, or a file does not exist.
    """
    names = [str(column) for column in frame.columns]
    columns = find_columns(names, asked=asked, where="the data frame")
    cells = frame.iloc[:, [names.index(name) for name in columns.values()]].astype(object)
    rows = cells.where(cells.notna(), None).itertuples(index=False, name=None)
    reader, lines = RowReader(name="the data frame"), []
    for number, values in enumerate(rows):
        row = dict(zip(columns, values, strict=True))
        reader.add(row, folder=folder, where=f"row {number} of the data frame")
        row["path"] = str(reader.records[-1].path.absolute())
        lines.append(json.dumps({name: value for name, value in row.items() if value is not None}, default=str))
    return "".join(f"{line}\n" for line in lines)
