"""A run knows its photos again: what was held out is measured, what is new is counted apart, what is gone is said."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
from lightning_fabric import Fabric

import mge
from mge.config import DataConfig
from mge.data.check.scan import digest_contents
from mge.data.records import Record, Selection
from mge.data.sources import read_photos
from mge.errors import ConfigError, DataError, ModelFolderError
from mge.evaluation import inspection
from mge.evaluation.inspection import skip_broken
from mge.evaluation.select import Selected, select, select_validation
from mge.inference.classifier import Classifier, load_folder
from mge.storage.photo_record import PHOTOS, KnownPhoto, read_known_photos, write_known_photos
from mge.storage.run_folder import Run
from mge.training.resume_guard import keep_or_check
from mge.training.student_photos import check_held_out, split_as_teacher
from tests.photos import write_class_folders, write_photo
from tests.runs import write_run

NEW = (10, 200, 200)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", per_class=8)


@pytest.fixture
def run(tmp_path: Path, photos: Path) -> Path:
    return write_run(tmp_path / "run", data=photos, keeps_record=True, num_experts=1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("any")
    return load_folder(write_run(folder / "run", data=folder, num_experts=1), fast=False)


def measured(
    run: Path, classifier: Classifier, *, data: Path | None = None, split: Selection | None = None
) -> Selected:
    return select(run, data=data, split=split, source_format="auto", classifier=classifier)


def contents(records: Sequence[Record]) -> set[bytes]:
    return {record.path.read_bytes() for record in records}


def used_for(run: Path, split: str) -> list[Path]:
    """The files of a split when the run began."""
    known = read_known_photos(run)
    assert known is not None
    return [run.parent / "photos" / photo.name for photo in known if photo.split == split]


def notes_of(selected: Selected) -> str:
    return " ".join(selected.photos.notes)


def test_added_photos_are_not_measured_but_where_they_are_asked_for(
    run: Path, photos: Path, classifier: Classifier
) -> None:
    before = measured(run, classifier)
    added = [write_photo(photos / label / f"new{number}.png", NEW, seed=number + len(label))
             for label in ("apple", "lime", "plum") for number in range(20)]  # fmt: skip
    after = measured(run, classifier)
    assert {record.path for record in after.readable} == {record.path for record in before.readable}
    assert before.photos.notes == ()
    assert "60 photos were added to photos since training and not evaluated here" in notes_of(after)
    new = measured(run, classifier, split="new")
    assert {record.path for record in new.readable} == set(added)
    assert "added since training" in new.description
    chosen = select_validation(run, after, classifier=classifier)
    assert {record.path for record in chosen} == set(used_for(run, "val"))


def test_nothing_new_is_one_line(run: Path, classifier: Classifier) -> None:
    with pytest.raises(DataError, match="has no photos added since training; leave out --split new"):
        measured(run, classifier, split="new")


def test_photos_of_a_class_that_is_new_are_left_out_and_said(run: Path, photos: Path, classifier: Classifier) -> None:
    write_photo(photos / "quince" / "0.png", NEW)
    selected = measured(run, classifier, split="all")
    assert len(selected.readable) == 24
    assert "1 new classes that the model does not know, the first is 'quince'" in notes_of(selected)


def test_renamed_and_moved_photos_keep_their_split(run: Path, photos: Path, classifier: Classifier) -> None:
    trained, held_out = contents([Record(each, "") for each in used_for(run, "train")]), used_for(run, "test")
    of_test = contents([Record(each, "") for each in held_out])
    for number, file in enumerate(sorted(photos.rglob("*.png"))):  # every name is another's, or a new one
        file.rename(file.with_name(f"img_{number:03d}.png"))
    (photos / "apple").rename(photos / "x")
    (photos / "x").rename(photos / "apple")
    selected = measured(run, classifier)
    assert contents(selected.readable) == of_test
    assert not contents(selected.readable) & trained
    assert "24 photos were renamed or copied since training" in notes_of(selected)


def test_a_copy_of_a_training_photo_under_a_held_out_name_is_not_measured(
    run: Path, photos: Path, classifier: Classifier
) -> None:
    trained, held_out = used_for(run, "train")[0], used_for(run, "test")[0]
    shutil.copy(trained, held_out)
    selected = measured(run, classifier)
    assert held_out not in {record.path for record in selected.readable}
    assert len(selected.readable) == 5


def test_photos_that_are_gone_are_said(run: Path, classifier: Classifier) -> None:
    for file in (used_for(run, "test")[0], *used_for(run, "train")[:2]):
        file.unlink()
    selected = measured(run, classifier)
    assert len(selected.readable) == 5
    assert "3 photos of the run are missing from photos: 2 of train, 1 of test" in notes_of(selected)


def test_a_mended_photo_keeps_its_split(run: Path, classifier: Classifier) -> None:
    write_photo(used_for(run, "test")[0], NEW)
    write_photo(used_for(run, "train")[0], NEW, seed=1)
    selected = measured(run, classifier)
    assert {record.path for record in selected.readable} == set(used_for(run, "test"))
    assert "2 photos were changed since training" in notes_of(selected)


def test_what_lies_as_it_lay_is_not_read_again(
    run: Path, photos: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Record] = []

    def digest(records: Sequence[Record]) -> Iterator[str]:
        read.extend(records)
        return digest_contents(records)

    monkeypatch.setenv("MGE_CACHE", str(run / "cache"))  # an empty one
    monkeypatch.setattr(inspection, "digest_contents", digest)
    measured(run, classifier)
    assert read == []
    for file in photos.rglob("*.png"):  # as a copy on another disk
        os.utime(file)
    assert measured(run, classifier).photos.notes == ()
    assert len(read) == 24


def test_files_with_the_times_and_sizes_of_others_are_told_apart(tmp_path: Path, classifier: Classifier) -> None:
    """As an archive that was unpacked with one time for all, of pictures that are not compressed."""
    photos = tmp_path / "photos"
    for number in range(24):
        label = ("apple", "lime", "plum")[number % 3]
        write_photo(photos / label / f"{number // 3}.bmp", NEW, seed=number)
    for file in photos.rglob("*.bmp"):
        os.utime(file, ns=(10**18, 10**18))
    run = write_run(tmp_path / "run", data=photos, keeps_record=True, num_experts=1)
    of_test = contents([Record(each, "") for each in used_for(run, "test")])
    (photos / "apple").rename(photos / "x")
    (photos / "lime").rename(photos / "apple")
    (photos / "x").rename(photos / "lime")
    assert contents(measured(run, classifier).readable) == of_test


def test_a_run_without_a_record_says_so_where_its_photos_have_changed(
    run: Path, photos: Path, classifier: Classifier
) -> None:
    (run / PHOTOS).unlink()
    assert measured(run, classifier).photos.notes == ()
    write_photo(photos / "apple" / "new.png", NEW)
    assert "has no record of its photos, and photos has changed since training" in notes_of(measured(run, classifier))


@pytest.mark.parametrize(
    ("mend", "match"),
    [
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "has 23 photos, but the run started with 24"),
        (lambda text: text.replace(",", ";"), "header is not path,label,split"),
        (lambda text: text.replace(",train,", ",new,", 1), "is not a photo"),
        (lambda text: text[:-40], "is not a photo"),
    ],
)
def test_a_damaged_record_is_one_line(
    run: Path, classifier: Classifier, mend: Callable[[str], str], match: str
) -> None:
    (run / PHOTOS).write_text(mend((run / PHOTOS).read_text()))
    with pytest.raises(ModelFolderError, match=match):
        measured(run, classifier)


def test_names_that_are_no_text_and_odd_ones_come_back_as_they_were(tmp_path: Path) -> None:
    names = [os.fsdecode(b"a\xff.png"), 'a,"b"\n.png', "=1+1.png", "日本/é.png"]
    known = [KnownPhoto(name, "a, b", "train", 1, 2, "ab") for name in names]
    write_known_photos(tmp_path, known)
    assert read_known_photos(tmp_path) == tuple(known)


def test_of_other_data_what_was_trained_on_is_left_out(
    run: Path, photos: Path, classifier: Classifier, tmp_path: Path
) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    added = write_photo(other / "plum" / "new.png", NEW)
    for path in (run, run / "best"):
        selected = measured(path, classifier, data=other)
        expected = {file.read_bytes() for file in (*used_for(run, "test"), added)}
        assert contents(selected.readable) == expected
        assert selected.num_seen == 18
        assert "except 18 used for training" in selected.description
        assert "18 of 25 photos of other were used for training or model selection and are excluded" in notes_of(
            selected
        )
    everything = measured(run, classifier, data=other, split="all")
    assert len(everything.readable) == 25
    assert "metrics are too optimistic" in notes_of(everything)
    for file in other.rglob("*.png"):
        if file.read_bytes() in expected:
            file.unlink()
    with pytest.raises(DataError, match=r"18 of 18 photos of other were used for training.*--split all"):
        measured(run, classifier, data=other)


def test_what_chooses_for_a_model_folder_was_not_trained_on(run: Path, classifier: Classifier, tmp_path: Path) -> None:
    other = tmp_path / "other"
    trained, chose = used_for(run, "train")[:3], used_for(run, "val")
    for split in ("train", "val", "test"):
        for label in ("apple", "lime"):
            write_photo(other / split / label / "new.png", NEW, seed=len(split) + 10 * len(label) + ord(split[1]))
    for number, file in enumerate([*trained, *chose]):
        shutil.copy(file, other / "val" / "apple" / f"{number}.png")
    selected = measured(run / "best", classifier, data=other)
    chosen = contents(select_validation(run / "best", selected, classifier=classifier))
    assert contents([Record(file, "") for file in chose]) < chosen
    assert not chosen & contents([Record(file, "") for file in trained])


def test_rows_of_a_table_are_known_wherever_they_stand(tmp_path: Path, photos: Path, classifier: Classifier) -> None:
    def write(files: list[Path]) -> None:
        rows = [{"image": {"bytes": file.read_bytes(), "path": None}, "label": file.parent.name} for file in files]
        pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")

    files = sorted(photos.rglob("*.png"))
    write(files)
    run = write_run(tmp_path / "run", data=tmp_path / "table.parquet", keeps_record=True, num_experts=1)
    of_test = {record.content for record in measured(run, classifier).readable}
    assert len(of_test) == 6
    added = [write_photo(tmp_path / "more" / "plum" / f"{number}.png", NEW, seed=number) for number in range(3)]
    write([*added, *files[::-1]])
    selected = measured(run, classifier)
    assert {record.content for record in selected.readable} == of_test
    assert "3 photos were added" in notes_of(selected)


def go_on(run: Path, photos: Path) -> None:
    """What a resumed run asks of its photos before anything else."""
    fabric, known = Fabric(accelerator="cpu", devices=1), read_photos(photos, config=DataConfig())
    skip_broken(fabric, known, run=Run(run), max_fraction=0.0)
    keep_or_check(fabric, known, run=Run(run), settings={})


def test_a_resumed_run_refuses_other_photos_under_the_same_names(run: Path, photos: Path) -> None:
    go_on(run, photos)
    for file in photos.rglob("*.png"):
        os.utime(file)
    go_on(run, photos)
    (photos / "apple").rename(photos / "x")
    (photos / "lime").rename(photos / "apple")
    (photos / "x").rename(photos / "lime")
    with pytest.raises(DataError, match=r"16 of 24 photos .*apple/0.png has the content of lime/0.png now; restore"):
        go_on(run, photos)


def test_a_student_has_its_teachers_splits_whatever_its_seed_and_whatever_was_added(run: Path, photos: Path) -> None:
    for number in range(12):
        write_photo(photos / "plum" / f"new{number}.png", NEW, seed=number)
    fabric, student = Fabric(accelerator="cpu", devices=1), Run(run.parent / "student")
    student.write_config({"data": str(photos), "format": "auto", "seed": 3})
    own = read_photos(photos, config=DataConfig(), seed=3)
    with pytest.raises(ConfigError, match="tested on training photos of its teacher, such as"):
        check_held_out(fabric, own, settings=student.config(), data=DataConfig(), teacher=Run(run))
    taught = split_as_teacher(fabric, own, run=student, teacher=run)
    check_held_out(fabric, taught, settings=student.config(), data=DataConfig(), teacher=Run(run))
    splits = {record.path: record.split for record in taught.records}
    for split in ("train", "val", "test"):
        assert {splits[file] for file in used_for(run, split)} == {split}


def test_the_record_is_that_of_the_run_that_a_model_or_a_plain_network_belongs_to(
    run: Path, photos: Path, classifier: Classifier
) -> None:
    plain = write_run(run / "plain", data=photos, num_experts=1)
    write_photo(photos / "apple" / "new.png", NEW)
    assert "1 photo was added" in notes_of(measured(plain, classifier))


def test_a_folder_that_is_no_run_of_ours_is_not_taken_for_one(
    photos: Path, classifier: Classifier, tmp_path: Path
) -> None:
    """A project has its own config.yaml and photos.csv beside a folder of models."""
    (tmp_path / "config.yaml").write_text("lr: 1\n")
    (tmp_path / "photos.csv").write_text("path,label\n")
    model = write_run(tmp_path / "models" / "birds", data=photos, num_experts=1) / "best"
    copied = shutil.copytree(model, tmp_path / "models" / "copied")
    assert len(measured(copied, classifier, data=photos).readable) == 24
    shutil.copytree(model, tmp_path / "copied")
    assert len(measured(tmp_path / "copied", classifier, data=photos).readable) == 24


def test_held_out_copies_of_training_photos_are_said_when_a_run_begins(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "run")
    rows = [f"photos/apple/{number}.png,apple,train" for number in range(8)]
    rows += ["photos/lime/0.png,lime,train", "photos/lime/1.png,lime,val", "photos/apple/0.png,apple,test"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    run.write_config({"data": str(tmp_path / "list.csv")})
    known = read_photos(tmp_path / "list.csv", config=DataConfig())
    skip_broken(Fabric(accelerator="cpu", devices=1), known, run=run, max_fraction=0.0)
    said = capsys.readouterr().out
    assert "1 held-out photos of" in said
    assert "are identical to training photos" in said


def test_a_training_keeps_the_record(photos: Path, tmp_path: Path) -> None:
    from tests.tiny import SHORT

    options = {**SHORT, "epochs": 1, "experts": 1}
    run = mge.train(photos, out=tmp_path / "run", **options)
    known = read_known_photos(run.folder)
    assert known is not None
    assert len(known) == 24
    assert {photo.name for photo in known} == {f"{label}/{number}.png" for label in ("apple", "lime", "plum")
                                               for number in range(8)}  # fmt: skip
    write_photo(photos / "apple" / "new.png", NEW)
    figures = mge.evaluate(run.folder, report=False)
    assert figures["num_photos"] == run.summary()["num_photos"]
    assert figures["mixture_top1"] == run.summary()["mixture_top1"]
    assert any("1 photo was added" in note for note in figures["notes"])
