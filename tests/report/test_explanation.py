"""Explanations hold what the mixture said, and what speaks for one class and not for another."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mge.data.photo import open_photo
from mge.errors import ConfigError, DataError
from mge.inference.classifier import Classifier
from mge.models.mixture import MixtureOfExperts
from mge.report.explanation import explain_stream, find_class
from mge.report.figures import VIEW_SIDE, Explanation
from tests.models.networks import build
from tests.photos import write_scene

NAMES = ("Granny-Smith", "Golden-Delicious", "Anjou", "red_beet", "Crème fraîche")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(build(num_experts=3, zoom_resolution=2, attention_offset=3.0), class_names=NAMES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    sizes = [(160, 120), (90, 200), (300, 300)]
    return [str(write_scene(folder / f"{seed}.png", seed=seed, size=size)) for seed, size in enumerate(sizes)]


def explain(classifier: Classifier, files: list[str], *, other: str | None = None) -> list[Explanation]:
    results = list(explain_stream(classifier, files, other_label=other, batch_size=2))
    assert all(isinstance(result, Explanation) for result in results)
    return cast(list[Explanation], results)


def test_an_explanation_says_what_a_prediction_says(classifier: Classifier, files: list[str]) -> None:
    for explanation, prediction in zip(explain(classifier, files), classifier.predict(list(files)), strict=True):
        assert explanation.label == prediction.label
        assert [name for name, _ in explanation.top] == [name for name, _ in prediction.top(3)]
        assert [share for _, share in explanation.top] == pytest.approx([share for _, share in prediction.top(3)])
        assert [view.top[0][0] for view in explanation.views] == list(prediction.expert_labels)
        assert [view.gate_prob for view in explanation.views] == pytest.approx(prediction.gate_probs, abs=1e-5)
        boxes = [view.box_xyxy for view in explanation.views]
        np.testing.assert_allclose(boxes, prediction.boxes_xyxy, atol=1e-3)


def test_views_are_cut_out_of_the_photo_at_its_own_resolution(classifier: Classifier, files: list[str]) -> None:
    for explanation, file in zip(explain(classifier, files), files, strict=True):
        photo = open_photo(file)
        assert explanation.size == photo.size
        for view in explanation.views:
            x1, y1, x2, y2 = (max(0.0, edge) for edge in view.box_xyxy)
            expected = photo.resize((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))
            difference = np.abs(np.asarray(view.picture).astype(int) - np.asarray(expected))
            assert difference.mean() < 3
            assert view.attention.min() >= 0
            assert view.attention.max() <= 1


def test_what_speaks_for_a_class_adds_up_to_its_score(classifier: Classifier, files: list[str]) -> None:
    model: MixtureOfExperts = classifier.model
    for explanation, file in zip(explain(classifier, files, other="Anjou"), files, strict=True):
        assert explanation.other_label != explanation.label
        one, other = (NAMES.index(name) for name in (explanation.label, str(explanation.other_label)))
        image = classifier.prepare(file).image.unsqueeze(0)
        with torch.inference_mode():
            logits = model(image).large_logits[0]
        for number, view in enumerate(explanation.views):
            assert view.contrast is not None
            assert view.contrast.logit == pytest.approx(float(logits[number, one]), abs=1e-4)
            assert view.contrast.other_logit == pytest.approx(float(logits[number, other]), abs=1e-4)


@torch.inference_mode()
def test_the_evidence_of_a_cell_is_what_the_score_loses_without_it(files: list[str]) -> None:
    model = Classifier(build(num_experts=1, zoom_resolution=2), class_names=NAMES)
    explanation = explain(model, files[:1], other="Anjou")[0]
    expert_pass = next(model.model.run_experts(model.model.normalize(model.prepare(files[0]).image.unsqueeze(0))))
    contrast = explanation.views[0].contrast
    assert contrast is not None
    head = cast(nn.Linear, model.model.experts[0].large_head)
    height, width = expert_pass.output.features.shape[2:]
    label = NAMES.index(explanation.label)
    for row, column, corner in ((0, 0, 0), (height - 1, width - 1, -1)):
        features = expert_pass.output.features.clone()
        features[:, :, row, column] = 0
        lost = expert_pass.output.large_logits[0, label] - head(features.mean((2, 3)))[0, label]
        assert contrast.evidence[corner, corner] == pytest.approx(float(lost), abs=1e-5)


def test_where_the_answer_is_the_other_class_the_next_likely_one_takes_its_place(
    classifier: Classifier, files: list[str]
) -> None:
    plain = explain(classifier, files[:1])[0]
    assert plain.other_label is None
    contrasted = explain(classifier, files[:1], other=plain.label)[0]
    assert contrasted.other_label == plain.top[1][0]


def test_a_photo_that_cannot_be_read_leaves_the_others_in_their_order(
    classifier: Classifier, files: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    results = list(explain_stream(classifier, [files[0], str(broken), files[1]], batch_size=16))
    assert isinstance(results[1], DataError)
    assert [result.path for result in results if isinstance(result, Explanation)] == files[:2]


@pytest.mark.parametrize("name", ["Granny-Smith", "granny smith", "GRANNY_SMITH", "GrannySmith"])
def test_a_class_is_found_however_it_is_spelt(name: str) -> None:
    assert find_class(name, NAMES) == "Granny-Smith"


def test_a_class_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"against is 'Grany Smith', which is not one of the 5 .* did you mean Granny"
    ):
        find_class("Grany Smith", NAMES)
    with pytest.raises(ConfigError, match="accepted: Granny-Smith, Golden"):
        find_class("bicycle", NAMES)
