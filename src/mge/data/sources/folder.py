"""Class folders: the last folder of a photo's path is its class."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mge.data.labels import clean_label
from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.rows import find_split
from mge.data.sources.walking import count, is_photo, list_entries, search
from mge.errors import DataError

# Folders of benchmarks that hold photos and are no classes.
NO_CLASSES = frozenset({"images", "imgs", "photos", "jpg", "data", "car_ims", "cars_train", "cars_test", "annotations"})


class ClassFolder(NamedTuple):
    """A folder with photos of one class."""

    path: Path
    split: Split | None
    place: str  # its path below the split's folder, each name as labels are compared
    label: str


def read_folder(folder: Path) -> PhotoSet:
    """Read a folder of class folders, with or without folders for the splits above them.

    Raises:
        DataError: it has no photos, photos without a class folder, or two folders that would be the same class.
    """
    home = _unwrap(folder)
    splits = _split_folders(home)
    findings = search(*splits or [home])
    notes = findings.passed_over(home) + _beside(home, splits)
    if not findings.photos:
        raise DataError(
            f"{str(folder)!r} contains no photos; expected one folder per class, or a manifest"
            + "".join(f"; {note}" for note in notes)
        )
    homes = {photo.parent: photo for photo in reversed(findings.photos)}
    classes = {each: _class_folder(each, splits or {home: None}, photo=photo) for each, photo in homes.items()}
    _check_depth(classes, homes)
    _check_splits(classes.values(), folder=home)
    _check_names(classes.values(), folder=home)
    records = tuple(
        Record(photo, classes[photo.parent].label, classes[photo.parent].split) for photo in findings.photos
    )
    names = tuple(sorted({each.label for each in classes.values()}))
    notes += _joined(classes.values()) + _missing(records, names)
    return PhotoSet(folder.resolve().name, "; ".join(["class folders", *notes]), names, records)


def has_class_folders(folder: Path) -> bool:
    """Return whether at least two folders in a folder, or in its folders for splits, have photos directly in them."""
    named = [Path(entry.path) for entry in list_entries(folder) if entry.is_dir() and find_split(entry.name)]
    for home in (folder, *named):
        inner = [Path(entry.path) for entry in list_entries(home) if entry.is_dir()]
        classes = [each for each in inner if each.name.lower() not in NO_CLASSES and any(map(is_photo, each.iterdir()))]
        if len(classes) > 1 and not all(find_split(each.name) for each in classes):
            return True
    return False


def find_split_folders(folder: Path) -> dict[Path, Split]:
    """Return the folders in a folder that are named like splits, without a folder of the same name around them."""
    named = {
        Path(entry.path): split
        for entry in list_entries(folder)
        if (split := find_split(entry.name)) is not None and entry.is_dir()
    }
    return {_unwrap(path, split): split for path, split in named.items()}


def _unwrap(folder: Path, split: Split | None = None) -> Path:
    """Follow folders with a single folder in them: `birds/dataset/train`, `training_set/training_set`."""
    while True:
        entries = list_entries(folder)
        inner = [entry for entry in entries if entry.is_dir()]
        if len(inner) != 1 or inner[0].is_symlink() or find_split(inner[0].name) != split:
            return folder
        deeper = list_entries(Path(inner[0].path))
        has_photos = any(is_photo(Path(entry.path)) for entry in (*entries, *deeper))
        if has_photos or not any(entry.is_dir() for entry in deeper):
            return folder
        folder = Path(inner[0].path)


def _split_folders(folder: Path) -> dict[Path, Split]:
    """Return the split of each split folder; none if `train` is a class with photos, beside `bus` and `car`."""
    named = find_split_folders(folder)
    nested = {path for path in named if any(entry.is_dir() for entry in list_entries(path))}
    if "train" not in named.values() or not nested:
        return {}
    return {path: split for path, split in named.items() if path in nested or split == "train"}


def _class_folder(home: Path, roots: Mapping[Path, Split | None], *, photo: Path) -> ClassFolder:
    root = next(parent for parent in (home, *home.parents) if parent in roots)
    parts = [clean_label(part) for part in home.relative_to(root).parts]
    if not parts:
        raise DataError(
            f"{photo} is not in a class folder; put the photos of each class into its own folder, or give a manifest "
            "that names the class of each photo"
        )
    return ClassFolder(home, roots[root], "/".join(parts), parts[-1])


def _check_depth(classes: Mapping[Path, ClassFolder], photos: Mapping[Path, Path]) -> None:
    for home in classes:
        outer = next((parent for parent in home.parents if parent in classes), None)
        if outer is not None:
            raise DataError(
                f"{photos[outer]} is next to the class folder {home.relative_to(outer)}, so its class is ambiguous; "
                f"move the photos of {home} into {outer}, or those of {outer} into a folder of their own"
            )


def _check_splits(classes: Iterable[ClassFolder], *, folder: Path) -> None:
    """Raise DataError if folders for splits, and no others, have photos directly in them."""
    names = sorted({each.path.name for each in classes})
    if all(map(find_split, names)):
        lists = [path.name for path in map(Path, sorted(folder.iterdir())) if path.suffix.lower() in (".csv", ".json")]
        remedy = f"give the list of them, perhaps {folder / lists[0]}" if lists else "give a manifest that names them"
        raise DataError(
            f"the photos of {folder} are in split folders only ({' and '.join(names)}), not in class folders; make a "
            f"folder for each class inside, or, if the labels are in another file, {remedy}"
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
                f"two folders of {folder} would be the class {label!r}: {first} and {second}; if the folders around "
                "them are splits, name those train, val and test; otherwise give each class a unique name"
            )
    for labels in spellings.values():
        if len(labels) > 1:
            first, second = sorted(labels)[:2]
            raise DataError(
                f"two classes of {folder} differ only in letter case: {first!r} and {second!r}; give them one name, or "
                "list the photos in a manifest, which keeps them separate"
            )


def _beside(folder: Path, splits: Mapping[Path, Split]) -> list[str]:
    """Describe the entries beside the split folders that are not read."""
    if not splits:
        return []
    others = [Path(entry.path) for entry in list_entries(folder) if Path(entry.path) not in splits]
    passed_over = [path.name for path in others if (path.is_dir() and not any(path in each.parents for each in splits))
                   or is_photo(path)]  # fmt: skip
    return [count("next to the split folders, not read", passed_over)] if passed_over else []


def _joined(classes: Iterable[ClassFolder]) -> list[str]:
    """Describe classes spelt with different characters in another folder, which look the same."""
    names = defaultdict(set)
    for each in classes:
        names[each.label].add(each.path.name)
    joined = [label for label, spellings in names.items() if len(spellings) > 1]
    return [count("folders merged because their names look the same", joined)] if joined else []


def _missing(records: Iterable[Record], names: Iterable[str]) -> list[str]:
    """Describe the classes that a split lacks."""
    labels = defaultdict(set)
    for record in records:
        labels[record.split].add(record.label)
    gaps = {split: [name for name in names if name not in found] for split, found in labels.items() if split}
    return [count(f"classes without {split} photos", gap) for split, gap in gaps.items() if gap]
