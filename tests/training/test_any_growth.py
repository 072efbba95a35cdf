"""Whatever becomes of the files after a training, no photo that was trained on counts as held out."""

import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mge.config import DataConfig
from mge.data.records import PhotoSet
from mge.data.sources import read_photos
from mge.evaluation.inspection import digest_photos
from mge.evaluation.known_photos import restore_splits
from mge.evaluation.recorded_photos import describe_known
from mge.storage.photo_record import KnownPhoto

CLASSES = ("apple", "lime", "plum")
CONFIG = DataConfig(val_fraction=0.2, test_fraction=0.3)
TIME = 1_700_000_000_000_000_000  # of all files, which have one size too: nothing but their content tells them apart

place = st.tuples(st.sampled_from(CLASSES), st.integers(0, 7))
change = st.one_of(
    st.tuples(st.just("add"), place, st.none()),
    st.tuples(st.just("remove"), place, st.none()),
    st.tuples(st.sampled_from(["rename", "swap", "copy"]), place, place),
)


@given(st.lists(change, max_size=30), st.integers(0, 3), st.booleans(), st.sampled_from(["folder", "manifest"]))
@settings(max_examples=40, deadline=None)
def test_no_photo_that_was_trained_on_counts_as_held_out(
    changes: Sequence[Any], seed: int, have_times: bool, layout: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, numbers = Path(folder, "photos"), count()
        for label in CLASSES:
            (root / label).mkdir(parents=True)
            for number in range(6):
                write(root / label / f"{number}.png", next(numbers), has_time=have_times)
        began = read(root, layout, seed=seed)
        known, previous = note(began, root)
        first_paths = {record.path.read_bytes(): record.path for record in began.records}
        for kind, first, second in changes:
            apply(root, kind, first, second, content=next(numbers), has_time=have_times)
        photos = read(root, layout, seed=seed)
        now = restore_splits(photos, known, data=str(data_of(root, layout)), class_names=CLASSES)
        assert len(now.records) == len(photos.records)
        content = {record.path: record.path.read_bytes() for record in now.records}
        at_first = {path: numbered for numbered, path in first_paths.items()}
        for record in now.records:
            mended = at_first.get(record.path)  # what had this name, and may have been mended
            was = None if mended is None or mended in content.values() else previous[mended]
            expected = previous.get(content[record.path], was)
            assert record.split == expected


def write(file: Path, number: int, *, has_time: bool) -> None:
    """A file that nobody decodes."""
    file.write_bytes(number.to_bytes(8, "big"))
    if not has_time:
        os.utime(file, ns=(TIME, TIME))


def apply(root: Path, kind: str, first: Any, second: Any, *, content: int, has_time: bool) -> None:  # noqa: ANN401
    """One thing that people do to folders of photos. No class loses its last one."""
    one, other = (root / each[0] / f"{each[1]}.png" if each else root for each in (first, second))
    if kind == "add":
        write(one, content, has_time=has_time)
    elif not one.exists():
        return
    elif kind == "copy":
        other.write_bytes(one.read_bytes())
    elif kind == "swap" and other.exists():
        mine = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(mine)
        for file in (one, other) if not has_time else ():
            os.utime(file, ns=(TIME, TIME))
    elif len(list(one.parent.iterdir())) > 1 and one != other:
        one.unlink() if kind == "remove" else one.rename(other)


def data_of(root: Path, layout: str) -> Path:
    return root if layout == "folder" else root.parent / "list.csv"


def read(root: Path, layout: str, *, seed: int) -> PhotoSet:
    data = data_of(root, layout)
    if layout == "manifest":
        rows = [f"photos/{file.relative_to(root)},{file.parent.name}" for file in sorted(root.rglob("*.png"))]
        data.write_text("\n".join(["path,label", *rows]))
    return read_photos(data, config=CONFIG, seed=seed, is_for_training=False)


def note(photos: PhotoSet, root: Path) -> tuple[list[KnownPhoto], dict[bytes, str]]:
    """What a run that begins with these photos keeps, and the split of each content."""
    data = root.parent / "list.csv" if photos.source.startswith("manifest") else root
    known = describe_known(photos, data=str(data), digests=digest_photos(photos.records))
    return known, {record.path.read_bytes(): str(record.split) for record in photos.records}
