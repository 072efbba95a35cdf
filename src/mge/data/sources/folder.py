"""Class folders: the last folder of a photo's path is its class."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mge.data.records import PhotoSet, Record, Split, clean_label
from mge.data.sources.walking import count, is_photo, list_entries, search
from mge.errors import DataError

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class ClassFolder(NamedTuple):
    """A folder with photos of one class."""

    path: Path
    split: Split | None
    place: str  # its path below the split's folder, each name as labels are compared
    label: str


def read_folder(folder: Path) -> PhotoSet:
    """Reads a folder of class folders, with or without folders for the splits above them.

    Raises:
        DataError: it holds no photos, photos without a class folder, or two folders that would be the same class.
    """
    splits = _split_folders(folder)
    findings = search(*splits or [folder])
    notes = findings.passed_over(folder) + _beside(folder, splits)
    if not findings.photos:
        raise DataError(
            f"{str(folder)!r} holds no photos; expected one folder a class with photos in it, or a manifest"
            + "".join(f"; {note}" for note in notes)
        )
    homes = {photo.parent: photo for photo in reversed(findings.photos)}
    classes = {home: _class_folder(home, splits or {folder: None}, photo=photo) for home, photo in homes.items()}
    _check_depth(classes, homes)
    _check_names(classes.values(), folder=folder)
    records = tuple(
        Record(photo, classes[photo.parent].label, classes[photo.parent].split) for photo in findings.photos
    )
    names = tuple(sorted({each.label for each in classes.values()}))
    notes += _joined(classes.values()) + _missing(records, names)
    return PhotoSet(folder.resolve().name, "; ".join(["class folders", *notes]), names, records)


def _split_folders(folder: Path) -> dict[Path, Split]:
    """The split of each folder for one; none where `train` is a class with photos in it, beside `bus` and `car`."""
    named = {
        Path(entry.path): SPLIT_FOLDERS[entry.name.lower()]
        for entry in list_entries(folder)
        if entry.name.lower() in SPLIT_FOLDERS and entry.is_dir()
    }
    nested = {path for path in named if any(entry.is_dir() for entry in list_entries(path))}
    if "train" not in named.values() or not nested:
        return {}
    return {path: split for path, split in named.items() if path in nested or split == "train"}


def _class_folder(home: Path, roots: Mapping[Path, Split | None], *, photo: Path) -> ClassFolder:
    root = next(parent for parent in (home, *home.parents) if parent in roots)
    parts = [clean_label(part) for part in home.relative_to(root).parts]
    if not parts:
        raise DataError(
            f"{photo} lies in no class folder; put the photos of each class into a folder of its "
            "own, or give a manifest that names the class of each photo"
        )
    return ClassFolder(home, roots[root], "/".join(parts), parts[-1])


def _check_depth(classes: Mapping[Path, ClassFolder], photos: Mapping[Path, Path]) -> None:
    for home in classes:
        outer = next((parent for parent in home.parents if parent in classes), None)
        if outer is not None:
            raise DataError(
                f"{photos[outer]} lies beside the class folder {home.relative_to(outer)}, so that it is not clear what "
                f"the class is; move the photos of {home} into {outer}, or those of {outer} into a folder of their own"
            )


def _check_names(classes: Iterable[ClassFolder], *, folder: Path) -> None:
    places, spellings = defaultdict(set), defaultdict(set)
    for each in classes:
        places[each.label].add(each.place)
        spellings[each.label.lower()].add(each.label)
    for label, paths in places.items():
        if len(paths) > 1:
            first, second = sorted(paths)[:2]
            raise DataError(
                f"two folders of {folder} would be the class {label!r}: {first} and {second}; rename one of them"
            )
    for labels in spellings.values():
        if len(labels) > 1:
            first, second = sorted(labels)[:2]
            raise DataError(
                f"two classes of {folder} differ only in capital letters: {first!r} and {second!r}; give them one "
                "name, or list the photos in a manifest, where they stay apart"
            )


def _beside(folder: Path, splits: Mapping[Path, Split]) -> list[str]:
    """What lies beside the splits' folders and is not read."""
    if not splits:
        return []
    others = [Path(entry.path) for entry in list_entries(folder) if Path(entry.path) not in splits]
    passed_over = [path.name for path in others if path.is_dir() or is_photo(path)]
    return [count("beside the folders of the splits, not read", passed_over)] if passed_over else []


def _joined(classes: Iterable[ClassFolder]) -> list[str]:
    """Classes whose name is spelt with other characters in another folder, which nobody can see."""
    names = defaultdict(set)
    for each in classes:
        names[each.label].add(each.path.name)
    joined = [label for label, spellings in names.items() if len(spellings) > 1]
    return [count("folders joined, whose names look the same", joined)] if joined else []


def _missing(records: Iterable[Record], names: Iterable[str]) -> list[str]:
    """Classes that a split does not have, though it has others."""
    labels = defaultdict(set)
    for record in records:
        labels[record.split].add(record.label)
    gaps = {split: [name for name in names if name not in found] for split, found in labels.items() if split}
    return [count(f"classes without {split} photos", gap) for split, gap in gaps.items() if gap]
