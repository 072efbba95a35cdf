"""Lists train.txt, val.txt, test.txt with lines `path, label[, coarse label]`, as in the Grocery Store Dataset."""

from collections.abc import Mapping
from pathlib import Path

from mge.data.file_type import SUFFIXES
from mge.data.hierarchy import collect_parents
from mge.data.records import SPLITS, PhotoSet, Record
from mge.data.sources.archive import ListedFiles
from mge.data.sources.folder import has_class_folders
from mge.data.sources.text_lines import read_lines, read_values
from mge.errors import DataError


def has_lists(folder: Path) -> bool:
    """Return whether a folder has such lists: another train.txt, beside class folders, may be a log, say."""
    file = folder / "train.txt"
    return file.is_file() and (not has_class_folders(folder) or _begins_as_list(file))


def _begins_as_list(file: Path) -> bool:
    """Return whether the first line names a photo and its label."""
    try:
        first = next(filter(str.strip, read_lines(file)), "")
    except DataError:
        return False
    paths = [first.rsplit(",", columns)[0] for columns in (1, 2) if first.count(",") >= columns]
    return any(Path(path.strip()).suffix.lower() in SUFFIXES for path in paths) and not first.endswith(",")


def read_lists(folder: Path) -> PhotoSet:
    """Read the lists of a folder; classes.csv beside them names the labels, and the coarse labels.

    Raises:
        DataError: a line does not have two or three columns, a photo does not exist in the folder, or a class has two
            coarse labels.
    """
    names, coarse_names = _class_names(folder / "classes.csv")
    photos = ListedFiles(folder, advice="add the photo, or correct the list")
    records, labels, pairs = [], set(), []
    for split in SPLITS:
        file = folder / f"{split}.txt"
        for number, line in enumerate(read_lines(file) if file.is_file() else (), start=1):
            if not line.strip():
                continue
            columns = [column.strip() for column in line.rsplit(",", 2 if line.count(",") > 1 else 1)]
            if len(columns) < 2 or not columns[1]:
                raise DataError(
                    f"{file}, line {number} is {line!r}; expected: path, label or path, label, coarse label"
                )
            path = photos.find(columns[0], where=f"{file}, line {number}")
            record = Record(path, names.get(columns[1], columns[1]), split)
            records.append(record)
            labels.add(columns[1])
            pairs.append((record.label, _coarse_name(columns[2], coarse_names) if len(columns) > 2 else ""))
    ordered = sorted(labels, key=lambda label: (len(label), label) if label.isdigit() else (0, label))
    class_names = tuple(names.get(label, label) for label in ordered)
    name, parents = folder.resolve().name, collect_parents(pairs, name=str(folder))
    return PhotoSet(name, "text lists train.txt, val.txt, test.txt", class_names, tuple(records), parents)


def _coarse_name(label: str, names: Mapping[str, str]) -> str:
    """Return the name of a coarse label. A number without a name would be mistaken for the number of a class."""
    return names.get(label, f"coarse {label}" if label.isdigit() else label)


def _class_names(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read names by label and by coarse label, from the columns of a classes.csv whose headers contain name and id."""
    rows = [values for _, values in read_values(file)] if file.is_file() else []
    header = [column.lower() for column in rows[0]] if rows else []
    return _names_by_id(rows, header, first=0), _names_by_id(rows, header, first=2)


def _names_by_id(rows: list[list[str]], header: list[str], *, first: int) -> dict[str, str]:
    """Return the names in column `first` by the ids in the next, if the header says so."""
    if len(header) < first + 2 or "name" not in header[first] or "id" not in header[first + 1]:
        return {}
    pairs = [(row[first + 1].strip(), row[first].strip()) for row in rows[1:] if len(row) > first + 1]
    return {key: name for key, name in pairs if name}
