"""A pandas data frame with the columns of a manifest. pandas is its owner's: nothing here imports it."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mge.data.sources.manifest import COLUMNS, read_row
from mge.errors import DataError


def is_frame(data: object) -> bool:
    """Whether this is a pandas data frame. Where pandas is not imported, there can be none."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def frame_to_manifest(frame: Any, *, folder: Path) -> str:  # noqa: ANN401  (pandas is not imported for its type)
    """The rows of a data frame as the text of a JSONL manifest, with absolute paths.

    Args:
        frame: A pandas data frame with the columns `path` and `label`, and if you like `split`, `x1`, `y1`, `x2`,
            `y2`, `group` and `parent`. Other columns are of no interest.
        folder: Where its relative paths start.

    Raises:
        DataError: a column is missing or there twice, a value makes no sense, or a file does not exist.
    """
    names = [str(column).strip().lower() for column in frame.columns]
    for column in COLUMNS:
        if names.count(column) > 1 or (column in ("path", "label") and column not in names):
            problem = "no column" if column not in names else "two columns"
            raise DataError(
                f"the data frame has {problem} {column!r}, among: {', '.join(names)}; accepted: {', '.join(COLUMNS)}"
            )
    wanted = [column for column in COLUMNS if column in names]
    columns = [_values(frame.iloc[:, names.index(column)]) for column in wanted]
    lines = []
    for number, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(wanted, values, strict=True))
        record = read_row(row, folder=folder, where=f"row {number} of the data frame")
        row |= {"path": str(record.path.absolute())}
        lines.append(json.dumps({name: value for name, value in row.items() if value is not None}, default=str))
    return "".join(f"{line}\n" for line in lines)


def _values(column: Any) -> Iterable[object]:  # noqa: ANN401  (a pandas series)
    """The values of a column as Python's own types, None where one is missing."""
    return column.astype(object).where(column.notna(), None).tolist()  # type: ignore[no-any-return]
