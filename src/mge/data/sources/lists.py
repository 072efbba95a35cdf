"""Lists train.txt, val.txt, test.txt with `path, label[, coarse label]` a line, as the Grocery Store Dataset has."""

import csv
from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.errors import DataError

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def has_lists(folder: Path) -> bool:
    """Whether a folder holds such lists."""
    return (folder / "train.txt").is_file()


def read_lists(folder: Path) -> PhotoSet:
    """Reads the lists of a folder; classes.csv beside them names the labels.

    Raises:
        DataError: a line has not two or three columns, or a photo does not exist.
    """
    names = _class_names(folder / "classes.csv")
    records, labels = [], set()
    for split in SPLITS:
        file = folder / f"{split}.txt"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.is_file() else (), start=1):
            if not line.strip():
                continue
            columns = [column.strip() for column in line.rsplit(",", 2 if line.count(",") > 1 else 1)]
            if len(columns) < 2:
                raise DataError(
                    f"{file}, line {number} is {line!r}; expected: path, label or path, label, coarse label"
                )
            path = folder / columns[0]
            if not path.is_file():
                raise DataError(f"{file}, line {number} names {columns[0]!r}, which does not exist below {folder}")
            records.append(Record(path, names.get(columns[1], columns[1]), split))
            labels.add(columns[1])
    ordered = sorted(labels, key=lambda label: (len(label), label) if label.isdigit() else (0, label))
    class_names = tuple(names.get(label, label) for label in ordered)
    return PhotoSet(folder.resolve().name, "text lists train.txt, val.txt, test.txt", class_names, tuple(records))


def _class_names(file: Path) -> dict[str, str]:
    """Names by label, out of the columns of a classes.csv that speak of a name and an id."""
    if not file.is_file():
        return {}
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    header = [column.lower() for column in rows[0]]
    if len(header) < 2 or "name" not in header[0] or "id" not in header[1]:
        return {}
    return {row[1].strip(): row[0].strip() for row in rows[1:] if len(row) > 1}
