"""Which column of a table holds what: the one that was asked for, or else by its name.

Manifests, data frames and tables of photos have the same columns, and call them by the same names.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from mge.config import suggest
from mge.data.labels import clean_text
from mge.errors import ConfigError, DataError

BOX = ("x1", "y1", "x2", "y2")
OPTIONAL = ("split", *BOX, "group", "parent")
COLUMNS = ("path", "label", *OPTIONAL)
# The names that each column goes by: of an earlier row of names before those of a later one.
NAMES: Mapping[str, Sequence[Collection[str]]] = {name: ((name,),) for name in OPTIONAL} | {
    "path": (
        ("path",),
        ("image",),
        ("file_path", "filepath", "image_path", "imagepath", "img_path"),
        ("file_name", "filename", "file", "image_file", "image_name", "img_name"),
        ("img", "photo", "picture", "jpg", "png"),
        ("image_id", "imageid", "img_id"),
        ("id",),
    ),
    "label": (
        ("label",),
        ("labels", "fine_label", "label_name", "class", "class_name", "classname", "category", "category_name",
         "species", "target", "cls", "choice"),
    ),
    "parent": (("parent",), ("coarse_label",)),
}  # fmt: skip
WHAT = {"path": "photos", "label": "labels"}
OPTIONS = {"path": "image_column", "label": "label_column"}  # of a person who names them


class AskedColumns(NamedTuple):
    """The columns that a person named; None: those that are found by themselves.

    Args:
        path: The column with the photos.
        label: The column with the classes.
    """

    path: str | None = None
    label: str | None = None


BY_NAME = AskedColumns()  # nothing was asked for


def clean_column(name: object) -> str:
    """Return a column's name as names are compared: `File Name`, `file-name` and `file_name` are the same."""
    return re.sub("[ -]", "_", clean_text(str(name)).lower())


def find_columns(
    names: Sequence[str], *, asked: AskedColumns, where: str, candidates: Mapping[str, Collection[str]] | None = None,
    needed: Collection[str] = ("path", "label"), shown: Mapping[str, str] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Return the name in a table of each of our columns that it has.

    Args:
        names: Of the table's columns.
        asked: The columns that a person named.
        where: What an error calls the table.
        candidates: The columns that may be one of ours by their type, where types are known.
        needed: Our columns that have to be there.
        shown: What an error calls each column, where that is more than its name.

    Raises:
        ConfigError: the table does not have a column that was asked for.
        DataError: a needed column is missing, or it is not clear which it is.
    """
    found = {
        ours: _find_asked(wanted, names, option=OPTIONS[ours], where=where)
        for ours, wanted in asked._asdict().items()
        if wanted is not None and ours in needed
    }
    taken = set(found.values())
    for ours in COLUMNS:
        if ours in found:
            continue
        typed = None if candidates is None else candidates.get(ours)
        possible = [name for name in (names if typed is None else typed) if name not in taken]
        rows = [[name for name in possible if clean_column(name) in row] for row in NAMES[ours]]
        chosen = next(filter(None, rows), [] if typed is None else list(typed))
        if len(chosen) > 1 or (not chosen and ours in needed):
            raise _unclear(ours, chosen, names=[(shown or {}).get(name, name) for name in names], where=where)
        if chosen:
            found[ours] = chosen[0]
    return found


def _find_asked(wanted: str, names: Sequence[str], *, option: str, where: str) -> str:
    found = [name for name in names if name == wanted] or [
        name for name in names if clean_column(name) == clean_column(wanted)
    ]
    if len(found) == 1:
        return found[0]
    hint = suggest(wanted, names)
    raise ConfigError(f"{option} is {wanted!r}; {where} has the columns {', '.join(names)}{hint and f'; {hint}'}")


def _unclear(ours: str, chosen: Sequence[str], *, names: Sequence[str], where: str) -> DataError:
    """Return what a person reads where there are several columns for something, or none."""
    if len({clean_column(name) for name in chosen}) == 1 and chosen:
        return DataError(f"{where} has two columns {ours!r}, among: {', '.join(names)}; rename or remove one")
    problem = (
        f"several columns that may hold the {WHAT.get(ours, ours)}" if chosen else f"no column for the {WHAT[ours]}"
    )
    flag = "--" + OPTIONS[ours].replace("_", "-") if ours in WHAT else "a single one"
    return DataError(f"{where} has {problem}, among: {', '.join(names)}; say which: {flag} NAME, or call it {ours!r}")
