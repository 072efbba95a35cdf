"""The result in one sentence: against whom, with what certainty, and what it advises."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mge.data.records import PhotoSet, Record
from mge.evaluation.headline import Reference, compare_with, find_plain, lowest_recall, write_advice, write_headline
from mge.evaluation.recorded_photos import describe_photos
from mge.evaluation.select import Selected
from mge.storage.run_folder import Run

PHOTOS = PhotoSet(
    "birds", "folders", ("a", "b"), tuple(Record(Path(f"{n}.png"), "ab"[n % 2], "test") for n in range(4))
)
SELECTED = Selected(PHOTOS, "test", True, PHOTOS.records)


def figures_of(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "mixture_top1": 80.0, "mixture_interval": [71.1, 86.7], "experts_top1": [60.0] * 3, "num_photos": 100,
        "measured": "the test split of birds", "majority_top1": 12.0, "chance_top1": 10.0, "lowest_recall": [],
        "num_doubtful_labels": 0, **more,
    }  # fmt: skip


def run_of(folder: Path, **plain: str) -> Run:
    run = Run.create(folder, config={"data": "birds"})
    run.write_origin(describe_photos(PHOTOS))
    run.write_summary({"split": "test"})
    for name, hits in plain.items():
        Run.create(folder / name, config={"data": "birds"}).write_right({"model": [hit == "1" for hit in hits]})
    return run


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (70, "10.0 points more than the plain network (70.0 %; significant, McNemar p = 0.002)"),
        (79, "1.0 points more than the plain network (79.0 %; not significant, McNemar p = 1.00)"),
        (80, "the same as the plain network (80.0 %; not significant, McNemar p = 1.00)"),
        (100, "20.0 points less than the plain network (100.0 %; significant, McNemar p < 0.001)"),
    ],
)
def test_the_sentence_has_the_interval_the_plain_network_and_the_certainty(theirs: int, words: str) -> None:
    reference = Reference("the plain network", [True] * theirs + [False] * (100 - theirs))
    compared = compare_with(reference, [True] * 80 + [False] * 20)
    assert write_headline(figures_of(reference=compared)) == (
        f"The mixture has a top-1 accuracy of 80.0 % (95 % CI 71.1 to 86.7 %) on the test split of birds, {words}."
    )


def test_without_a_plain_network_it_is_compared_with_the_first_expert_and_chance() -> None:
    compared = compare_with(Reference("the first expert alone", [True, False]), [True, True])
    chance = "; always predicting the most frequent class reaches 12.0 %, guessing 10.0 %."
    text = write_headline(figures_of(reference=compared))
    assert text.endswith(f"the first expert alone (50.0 %; not significant, McNemar p = 1.00){chance}")
    text = write_headline(figures_of(experts_top1=[80.0]))
    assert text.startswith("The network has")
    assert text.endswith(f"on the test split of birds{chance}")


def test_the_strongest_plain_network_of_the_same_photos_is_found(tmp_path: Path) -> None:
    run_of(tmp_path / "none")
    assert find_plain(tmp_path / "none", SELECTED) is None
    run_of(tmp_path / "one", plain="1100")
    found = find_plain(tmp_path / "one", SELECTED)
    assert found == Reference("the plain network", [True, True, False, False])
    run_of(tmp_path / "two", plain="1100", plain_equal_compute="1110")
    found = find_plain(tmp_path / "two", SELECTED)
    assert found == Reference("the plain network of equal compute", [True, True, True, False])


def test_a_plain_network_measured_on_other_photos_is_no_reference(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", plain="1100").folder
    other = PhotoSet("birds", "folders", ("a", "b"), PHOTOS.records[::-1])  # in another order
    for selected in (
        Selected(PHOTOS, "test", True, PHOTOS.records[:3]),
        Selected(PHOTOS, "all", True, PHOTOS.records),
        Selected(PHOTOS, "test", False, PHOTOS.records),
        Selected(other, "test", True, other.records),
    ):
        assert find_plain(run, selected) is None
    assert find_plain(tmp_path, SELECTED) is None  # a model folder


def test_the_three_classes_with_the_lowest_recall_are_named_with_counts() -> None:
    confusion = torch.tensor([[3, 1, 0, 0, 0], [0, 4, 0, 0, 0], [2, 0, 2, 0, 0], [0, 0, 0, 0, 0], [4, 0, 0, 0, 4]])
    rows = lowest_recall(confusion, list("abcde"))
    assert [tuple(row.values()) for row in rows] == [("e", 4, 8), ("c", 2, 4), ("a", 3, 4)]
    assert write_advice(figures_of(lowest_recall=rows)) == [
        "Lowest recall: e (4 of 8), c (2 of 4), a (3 of 4). More training photos of these classes may help."
    ]
    assert lowest_recall(torch.eye(3, dtype=torch.long), list("abc")) == []


def test_doubtful_labels_are_advice_only_of_a_model_that_is_better_than_chance() -> None:
    (advice_of_one,) = write_advice(figures_of(num_doubtful_labels=1))
    assert advice_of_one == "1 of 100 labels looks doubtful: check it, it is in the report."
    (advice_of_two,) = write_advice(figures_of(num_doubtful_labels=2))
    assert advice_of_two == "2 of 100 labels look doubtful: check them, they are in the report."
    (weak,) = write_advice(figures_of(num_doubtful_labels=2, mixture_interval=[11.0, 30.0]))
    assert "not clearly better than always predicting the most frequent class (12.0 %)" in weak
