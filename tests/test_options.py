"""Options are read out of signatures, and text becomes values of their types."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from mge.config import PRESETS, DataConfig, ModelConfig, TrainConfig
from mge.errors import ConfigError
from mge.options import REQUIRED, Option, defaults_of, describe, options_of, read_argument_help, read_text


def _verb(photos: str | Path, *, top: int = 3, **options: Any) -> None:  # noqa: ANN401
    """Does something.

    Args:
        photos: Files
            and folders.
        top: How many.
        options: The rest.
    """


def test_parameters_become_options_with_their_help() -> None:
    options = options_of(_verb)
    assert options["photos"] == Option("photos", str | Path, REQUIRED, "Files and folders.", is_positional=True)
    assert options["top"] == Option("top", int, 3, "How many.")


def test_open_ended_options_stand_for_every_field_of_the_configuration() -> None:
    names = [name for cls in (ModelConfig, DataConfig, TrainConfig) for name in cls.__dataclass_fields__]
    options = options_of(_verb)
    assert list(options) == ["photos", "top", *names]
    assert all(options[name].help and options[name].group for name in names)


def test_numbers_and_texts_of_numpy_are_written_as_plain_ones() -> None:
    config = TrainConfig(backbone_lr=np.logspace(-2, -1, 2)[0], optimizer=np.array(["sgd"])[0])
    assert yaml.safe_load(yaml.safe_dump(config.to_dict())) == TrainConfig(backbone_lr=0.01).to_dict()


def test_the_type_of_a_result_need_not_be_importable() -> None:
    def verb(number: "int" = 1) -> "NoSuchType":  # type: ignore[name-defined]  # noqa: F821
        """Does nothing."""

    assert options_of(verb)["number"].hint is int


def test_a_preset_changes_the_defaults() -> None:
    options = options_of(_verb)
    assert defaults_of(options, preset="default")["zoom_from"] == ModelConfig().zoom_from
    authors = defaults_of(options, preset="authors")
    assert {name: authors[name] for name in PRESETS["authors"]} == PRESETS["authors"]


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "3", 3),
        (float, "5e-4", 5e-4),
        (float, "1", 1.0),
        (bool, "true", True),
        (bool, "No", False),
        (str, "no", "no"),
        (str, "007", "007"),
        (str | None, "null", None),
        (str | None, "None", "None"),
        (Literal["yes", "no"], "no", "no"),
        (Literal[8, 16], "16", 16),
        (Path, "a/b", Path("a/b")),
        (str | Path, "a/b", "a/b"),
        (int | None, "4", 4),
    ],
)
def test_text_becomes_a_value(hint: Any, text: str, value: object) -> None:  # noqa: ANN401
    read = read_text(hint, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "accepted"),
    [
        (int, "3.5", "a whole number"),
        (float, "nan", "a number"),
        (float, "x", "a number"),
        (bool, "maybe", "true, false"),
        (Literal["yes", "no"], "foo", "yes, no"),
        (int | None, "x", "a whole number or null"),
        (list[int], "x", "a whole number"),
    ],
)
def test_text_that_is_no_value_is_refused_with_what_is_accepted(hint: Any, text: str, accepted: str) -> None:  # noqa: ANN401
    option = Option("thing", hint, None, "")
    with pytest.raises(ConfigError, match=rf"^thing is {text!r}; accepted: {accepted}$"):
        option.read(text)


def test_a_type_that_no_flag_can_have_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no option can have the type"):
        read_text(dict[str, int], "x")


def test_text_and_paths_are_described_as_text() -> None:
    assert describe(str | Path) == "text"
    assert describe(str | None) == "text or null"


def test_argument_help_ends_with_its_section() -> None:
    documentation = """One.

    Args:
        a: First: with a colon
            and a second line.
        b_c: Second.

    Returns:
        d: no argument.
    """
    assert read_argument_help(documentation) == {"a": "First: with a colon and a second line.", "b_c": "Second."}
    assert read_argument_help("No arguments.") == {}
