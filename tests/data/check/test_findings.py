import math
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mge.config import DataConfig
from mge.data.check.findings import Findings, FlaggedPhoto, collect_findings, weigh
from mge.data.check.scan import scan_photos
from mge.data.records import PhotoSet
from mge.data.sources import read_photos
from tests.photos import truncate, write_scene


def make_folder(folder: Path) -> Path:
    """Three classes in three splits, with one finding of each kind."""
    seed = 0
    for split, count in (("train", 4), ("val", 1), ("test", 2)):
        for label in ("apple", "lime", "plum"):
            for number in range(count):
                seed += 1
                write_scene(folder / split / label / f"{number}.jpg", seed=seed, size=(300, 220), quality=90)
    shutil.rmtree(folder / "val" / "plum")
    (folder / "train" / "plum" / "0.jpg").unlink()
    (folder / "train" / "plum" / "1.jpg").unlink()
    original = Image.open(folder / "train" / "apple" / "0.jpg")
    original.resize((280, 205)).save(folder / "test" / "apple" / "resized.jpg", quality=80)  # near, across splits
    shutil.copy(folder / "train" / "lime" / "0.jpg", folder / "test" / "lime" / "same.jpg")  # exact, across splits
    shutil.copy(folder / "train" / "lime" / "1.jpg", folder / "train" / "lime" / "twice.jpg")  # exact, within one
    Image.open(folder / "train" / "lime" / "2.jpg").save(folder / "train" / "plum" / "wrong.png")  # near, other label
    write_scene(folder / "train" / "apple" / "tiny.png", seed=90, size=(40, 20))
    (folder / "train" / "apple" / "page.jpg").write_text("<html>")
    truncate(write_scene(folder / "val" / "lime" / "cut.jpg", seed=91))
    truncate(write_scene(folder / "test" / "plum" / "cut.png", seed=92))
    return folder


def read(folder: Path) -> PhotoSet:
    return read_photos(folder, config=DataConfig(), is_for_training=False)


def find(photos: PhotoSet, *, tiny_px: int = 32, distance: int = 6) -> Findings:
    scans = list(scan_photos(photos.records, with_hashes=True))
    return collect_findings(photos, scans, tiny_px=tiny_px, distance=distance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def findings(folder: Path) -> Findings:
    return find(read(folder))


def found(folder: Path, *names: str) -> tuple[FlaggedPhoto, ...]:
    return tuple(FlaggedPhoto(str(folder / name), name.split("/")[1], name.split("/")[0]) for name in names)


def test_photos_are_counted_by_split_and_class(findings: Findings) -> None:
    assert findings.counts == {
        "train": {"apple": 6, "lime": 5, "plum": 3},
        "val": {"apple": 1, "lime": 2, "plum": 0},
        "test": {"apple": 3, "lime": 3, "plum": 3},
    }
    assert findings.num_photos == 26
    assert findings.missing == {"train": (), "val": ("plum",), "test": ()}


def test_broken_photos_are_found_with_their_reasons(findings: Findings, folder: Path) -> None:
    reasons = {photo.path: photo.reason for photo in findings.broken}
    assert set(reasons) == {
        str(folder / name) for name in ("train/apple/page.jpg", "val/lime/cut.jpg", "test/plum/cut.png")
    }
    assert "truncated" in reasons[str(folder / "val/lime/cut.jpg")]
    assert reasons[str(folder / "train/apple/page.jpg")].startswith("is not a photo")
    assert [(photo.label, photo.split) for photo in findings.broken] == [
        ("plum", "test"), ("apple", "train"), ("lime", "val"),
    ]  # fmt: skip


def test_tiny_photos_are_those_below_the_side_asked_for(findings: Findings, folder: Path) -> None:
    (tiny,) = findings.tiny
    assert (tiny.path, tiny.width, tiny.height) == (str(folder / "train/apple/tiny.png"), 40, 20)
    photos = read(folder)
    assert find(photos, tiny_px=20).tiny == ()
    assert len(find(photos, tiny_px=21).tiny) == 1


def test_exact_copies_are_found_within_and_across_splits(findings: Findings, folder: Path) -> None:
    across, within = findings.exact
    assert across.photos == found(folder, "test/lime/same.jpg", "train/lime/0.jpg")
    assert (across.across_splits, across.labels_disagree) == (True, False)
    assert within.photos == found(folder, "train/lime/1.jpg", "train/lime/twice.jpg")
    assert (within.across_splits, within.labels_disagree) == (False, False)


def test_near_copies_are_found_and_labels_that_disagree(findings: Findings, folder: Path) -> None:
    resized, wrong = findings.near
    assert resized.photos == found(folder, "test/apple/resized.jpg", "train/apple/0.jpg")
    assert (resized.across_splits, resized.labels_disagree) == (True, False)
    assert wrong.photos == found(folder, "train/lime/2.jpg", "train/plum/wrong.png")
    assert (wrong.across_splits, wrong.labels_disagree) == (False, True)
    assert findings.leaks == (findings.exact[0], resized)
    assert findings.conflicts == (wrong,)


def test_findings_come_back_from_their_json(findings: Findings) -> None:
    assert Findings.from_json(findings.to_json()) == findings
    assert '"across_splits": true' in findings.to_json()


def test_a_good_folder_has_no_findings(tmp_path: Path) -> None:
    for seed, label in enumerate(["a", "b"] * 10):
        write_scene(tmp_path / label / f"{seed}.jpg", seed=seed)
    findings = find(read(tmp_path))
    assert not any([findings.broken, findings.tiny, findings.exact, findings.near])
    assert findings.missing == {"train": (), "val": (), "test": ()}


def test_imbalance_is_the_ratio_of_the_extremes_and_the_effective_number_of_classes() -> None:
    even = weigh({"a": 5, "b": 5, "c": 5})
    assert (even.ratio, even.effective_classes) == (1.0, 3.0)
    uneven = weigh({"a": 6, "b": 2})
    assert (uneven.largest, uneven.smallest, uneven.ratio) == ("a", "b", 3.0)
    assert uneven.effective_classes == round(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)), 1)
    empty = weigh({"a": 4, "b": 0})
    assert (empty.smallest, empty.ratio, empty.effective_classes) == ("b", 0.0, 1.0)
