"""Predictions as text, CSV, JSON, JSON lines or Parquet: one row per photo, written as a stream."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO

from mge.errors import MissingExtraError

Form = Literal["text", "csv", "json", "jsonl", "parquet"]
EmbeddingForm = Literal["parquet", "npz"]
NOTHING: dict[str, Any] = {"path": "", "label": "", "probability": 0.0}  # with the columns of a file without rows
ALL = "probabilities"  # in a row: the probability of every class, if requested
AT_A_TIME = 4096  # rows of Parquet in memory at a time, and per row group

Row = dict[str, Any]


def write_rows(rows: Iterable[Row], file: Path, *, form: Form, num_experts: int) -> None:
    """Write predictions to a file.

    Args:
        rows: Rows made by `as_row`.
        file: File to write.
        form: Format of the file.
        num_experts: Number of experts with columns in a CSV file.

    Raises:
        MissingExtraError: Parquet is requested, and the package that writes it is not installed.
    """
    if form == "parquet":
        _write_parquet(rows, file)
        return
    with file.open("w", newline="", encoding="utf-8") as opened:
        print_rows(rows, opened, form=form, num_experts=num_experts)


def print_rows(rows: Iterable[Row], out: TextIO, *, form: Form, num_experts: int) -> None:
    """Write predictions to a text stream."""
    if form == "csv":
        _write_csv(rows, out, num_experts=num_experts)
    elif form == "jsonl":
        out.writelines(json.dumps(row) + "\n" for row in rows)
    elif form == "json":
        out.writelines(_as_json_list(rows))
    else:
        out.writelines(_as_line(row) for row in rows)


def check_form(form: Form) -> None:
    """Raise MissingExtraError if a format needs a package that is not installed, before hours of work."""
    if form == "parquet":
        import_pyarrow()


def _as_line(row: Row) -> str:
    named = [(entry["label"], entry["probability"]) for entry in row["top"]]
    ranked = sorted(row[ALL].items(), key=lambda entry: -entry[1]) if ALL in row else named
    likeliest = "  ".join(f"{label} {100 * probability:.1f} %" for label, probability in ranked)
    unknown = f"{row['label']}: {row['reason']}; " if row["reason"] else ""
    return f"{row['path']}: {unknown}{likeliest}\n"


def _as_json_list(rows: Iterable[Row]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield ",\n" if number else "\n"
        yield "\n".join(f" {line}" for line in json.dumps(row, indent=1).splitlines())
    yield "\n]\n"


def _write_csv(rows: Iterable[Row], out: TextIO, *, num_experts: int) -> None:
    """Write rows as CSV: lists become numbered columns, empty for experts that did not run."""
    first, rows = _peek(rows)
    of_classes = _of_each_class(first)
    columns = [name for name in _flat(first) if name not in of_classes and not re.match(r"(gate|box)_\d", name)]
    columns += [name for number in range(num_experts) for name in (f"gate_{number}", *_box_columns(number))]
    columns += of_classes
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(map(_flat, rows))


def _peek(rows: Iterable[Row]) -> tuple[Row, Iterator[Row]]:
    """Return the first row, which determines the columns, and all rows."""
    remaining = iter(rows)
    first = next(remaining, None)
    return (NOTHING, remaining) if first is None else (first, chain([first], remaining))


def _flat(row: Row) -> Row:
    """Flatten a row: its lists become numbered values."""
    flat = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    for place, entry in enumerate(row.get("top", []), start=1):
        flat |= {f"label_{place}": entry["label"], f"probability_{place}": entry["probability"]}
    for number, (share, box) in enumerate(zip(row.get("gate_probs", []), row.get("boxes_xyxy", []), strict=True)):
        flat |= {f"gate_{number}": share, **dict(zip(_box_columns(number), box, strict=True))}
    return flat | _of_each_class(row)


def _of_each_class(row: Row) -> dict[str, float]:
    """Return the probability of every class as columns; none if a row does not have them."""
    return {f"prob_{label}": probability for label, probability in row.get(ALL, {}).items()}


def _box_columns(number: int) -> list[str]:
    return [f"box_{number}_{edge}" for edge in ("x1", "y1", "x2", "y2")]


def _write_parquet(rows: Iterable[Row], file: Path) -> None:
    pyarrow, parquet = import_pyarrow()
    kinds = {
        "top": pyarrow.list_(pyarrow.struct([("label", pyarrow.string()), ("probability", pyarrow.float64())])),
        "expert_labels": pyarrow.list_(pyarrow.string()), "gate_probs": pyarrow.list_(pyarrow.float64()),
        "boxes_xyxy": pyarrow.list_(pyarrow.list_(pyarrow.float64())),
    }  # fmt: skip
    plain = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    columns = ({**{name: row[name] for name in row if name != ALL}, **_of_each_class(row)} for row in rows)
    first, rows = _peek(columns)
    schema = pyarrow.schema([(name, kinds.get(name) or plain[type(value)]) for name, value in first.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(rows, AT_A_TIME)):
            writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))


def import_pyarrow() -> tuple[Any, Any]:
    """Import the packages that write Parquet; they have no types of their own."""
    try:
        import pyarrow  # noqa: PLC0415  (an extra, heavy)
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "Parquet is written by pyarrow, which is not installed; get it with: pip install 'mge[tables]'"
        ) from error
    return pyarrow, parquet
