"""The model card says what is known about a model, and nothing that is not."""

import yaml

from mge.config import ModelConfig
from mge.storage.model_card import write_card

CONFIG = ModelConfig(backbone="resnet50", experts=3, size=224, zoom_resolution=2.0)


def test_the_hub_can_read_its_head() -> None:
    head = write_card(CONFIG, ("a", "b"), {}).split("---")[1]
    assert yaml.safe_load(head) == {
        "library_name": "mge",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "fine-grained", "mixture-of-experts"],
    }


def test_it_says_what_is_known() -> None:
    metadata = {
        "preprocessing": {"resize": "squash"},
        "calibration": {"temperature": 1.234},
        "rejection": {"threshold": 0.815},
        "cascade": {"leads": [0.9, 0.9]},
        "provenance": {"data": "birds", "epoch": 11, "val_top1_mixture": 91.25, "val_top1_expert0": 88.0},
    }
    card = write_card(CONFIG, ("Käfer", "wren"), metadata)
    for text in (
        "3 experts, backbone resnet50, input size 224 px", "Käfer, wren", "resized to a square", "448 x 448 px",
        "(T = 1.23)", "below 81.5 % are labelled `unknown`", "Early-exit thresholds",
        "| mixture | 91.2 |", "| expert 0 | 88.0 |", "- data: birds", "mge.load",
    ):  # fmt: skip
        assert text in card
    assert "cannot detect" not in card


def test_a_single_network_is_not_called_a_mixture() -> None:
    config = ModelConfig(backbone="resnet50", experts=1, part_filters=0, size=224)
    provenance = {"data": "birds", "val_top1_mixture": 91.25, "val_top1_expert0": 91.25}
    card = write_card(config, ("a", "b"), {"provenance": provenance})
    assert "one network, backbone resnet50, input size 224 px" in card
    assert "| network | 91.2 |" in card
    body = card.partition("## Provenance")[0]
    assert not [word for word in ("mixture", "expert", "gate") if word in body]


def test_it_is_silent_about_what_is_not_known() -> None:
    card = write_card(CONFIG, tuple(f"class {number}" for number in range(300)), {})
    for text in ("## Accuracy", "## Provenance", "calibrated", "unknown", "Early-exit"):
        assert text not in card
    assert "class 199, and 100 more" in card
    assert "It cannot detect photos that show none of them." in card
