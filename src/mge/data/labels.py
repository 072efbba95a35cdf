"""Normalisation of class and group names: names that look the same are merged, and doubtful ones are noted."""

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from mge.data.hierarchy import collect_parents
from mge.data.records import PhotoSet
from mge.errors import DataError

# Characters without a width or a mark of their own: zero-width space, word joiner, byte order mark, soft hyphen and the
# marks of direction. The two joiners of Persian and Indic scripts (U+200C, U+200D) change how letters look, and stay.
INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# Spellings of a missing value in R, pandas, Excel, SQL, Python.
NOTHING = frozenset({"NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"})


def clean_label(label: str) -> str:
    """Normalise a label for comparison: Unicode NFC, single spaces, no invisible characters.

    A Mac writes é as two characters where others write one, Word and web pages have no-break spaces, and joined files
    have byte order marks in the middle; none of it is visible.

    Raises:
        DataError: it is not valid text, as the name of a folder in another encoding than UTF-8, or has control
            characters.
    """
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the class name {label!r} is not valid UTF-8; rename the folder, or correct the list"
        ) from error
    clean = clean_text(label)
    if any(unicodedata.category(character) == "Cc" for character in clean):
        raise DataError(f"the name {label!r} contains invisible control characters; remove them")
    return clean


def clean_text(text: str) -> str:
    """Normalise text to NFC, single spaces and no invisible characters; anything else is kept."""
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())


def clean_labels(photos: PhotoSet) -> PhotoSet:
    """Return the same photos, with the names of classes, parent classes and groups normalised, and notes on them.

    Raises:
        DataError: a name is invalid or empty, or normalised names contradict each other about the hierarchy.
    """
    clean = {name: clean_label(name) for name in photos.class_names}
    groups = {group: clean_label(group) for group in {record.group for record in photos.records}}
    if "" in clean.values():
        empty = next(name for name in clean if not clean[name])
        raise DataError(f"the class name {empty!r} of {photos.name} has no visible character; rename it")
    records = tuple(
        record
        if (clean[record.label], groups[record.group]) == (record.label, record.group)
        else dataclasses.replace(record, label=clean[record.label], group=groups[record.group])
        for record in photos.records
    )
    names = tuple(dict.fromkeys(clean.values()))
    pairs = ((clean_label(child), clean_label(parent)) for child, parent in photos.parents.items())
    parents = collect_parents(pairs, name=photos.name)  # classes that differed only in spelling may be merged now
    cleaned = dataclasses.replace(photos, class_names=names, records=records, parents=parents)
    notes = (*photos.notes, *_note_spellings(photos.class_names), *_note_doubtful(cleaned))
    return dataclasses.replace(cleaned, notes=notes)


def _note_spellings(names: Iterable[str]) -> list[str]:
    """Return notes on names that are one class though they are spelt differently, and on those that nearly are."""
    spellings, capitals = defaultdict(set), defaultdict(set)
    for name in names:
        spellings[clean_label(name)].add(name.strip())
        capitals[clean_label(name).casefold()].add(clean_label(name))
    joined = sorted(name for name, found in spellings.items() if len(found) > 1)
    pairs = sorted(sorted(found) for found in capitals.values() if len(found) > 1)
    notes = []
    if joined:
        notes.append(
            f"labels that look identical but are spelled differently were merged: {len(joined):,}, the first is "
            f"{joined[0]!r}"
        )
    if pairs:
        notes.append(
            f"classes that differ only in letter case are separate classes: {len(pairs):,}, the first are "
            f"{pairs[0][0]!r} and {pairs[0][1]!r}; if they are one class, give them one name"
        )
    return notes


def _note_doubtful(photos: PhotoSet) -> list[str]:
    """Return a note on classes that are named like a missing value."""
    counts = Counter(record.label for record in photos.records if record.label in NOTHING)
    if not counts:
        return []
    said = ", ".join(f"{name!r} ({count:,} photos)" for name, count in sorted(counts.items()))
    return [f"class names look like missing values: {said}; if they mean no label, remove these photos"]
