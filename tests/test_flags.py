"""Command lines and configuration files become settings."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest

import mge
from mge.config.words import INSTEAD_OF, MEANT
from mge.errors import ConfigError
from mge.flags import parse
from mge.options import Option, options_of


def _verb(
    run: str, photos: list[str], *, rate: float = 0.5, head_lr: float = 0.1, flip: bool = True,
    cache: Literal["yes", "no"] = "yes", devices: str = "1", note: str | None = None,
) -> None:  # fmt: skip
    """Does something."""


OPTIONS = options_of(_verb)


def settings_of(*args: str, options: dict[str, Option] = OPTIONS) -> dict[str, Any]:
    return parse("verb", options, list(args)).settings


def test_only_what_was_set_is_in_the_settings() -> None:
    assert settings_of() == {}
    assert settings_of("RUN", "a.jpg", "b.jpg", "--rate", "0.25") == {
        "run": "RUN", "photos": ["a.jpg", "b.jpg"], "rate": 0.25
    }  # fmt: skip


def test_flags_may_stand_before_between_and_after_arguments() -> None:
    wanted = {"run": "RUN", "photos": ["a.jpg"], "rate": 1.0, "flip": False}
    assert settings_of("--rate", "1", "RUN", "--flip", "false", "a.jpg") == wanted
    assert settings_of("--rate=1", "--flip=no", "RUN", "a.jpg") == wanted
    assert settings_of("RUN", "a.jpg", "--rate=1", "--no-flip") == wanted


def test_dashes_and_underscores_are_the_same_in_names_and_stay_in_values() -> None:
    assert (
        settings_of("--head-lr", "1") == settings_of("--head_lr", "1") == settings_of("--head-lr=1") == {"head_lr": 1.0}
    )
    assert settings_of("--note=a-b=c") == {"note": "a-b=c"}


def test_a_switch_needs_no_value() -> None:
    assert settings_of("--flip", "--rate", "1") == {"flip": True, "rate": 1.0}
    assert settings_of("--flip", "RUN") == {"flip": True, "run": "RUN"}
    assert settings_of("--no_flip") == {"flip": False}


def test_a_negative_number_is_a_value() -> None:
    assert settings_of("--rate", "-1") == {"rate": -1.0}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--rat", "1"], "unknown option 'rat'; did you mean 'rate'[?] See mge verb --help"),
        (["--zzzzz=1"], "unknown option 'zzzzz'; see mge verb --help"),
        (["--rate"], "--rate: expected one argument; see mge verb --help"),
        (["--rate", "x"], "rate is 'x'; accepted: a number"),
        (["--cache", "x"], "cache is 'x'; accepted: yes, no"),
    ],
)
def test_a_wrong_flag_is_refused(args: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(*args)


@pytest.mark.parametrize(
    ("verb", "flag", "said"),
    [
        ("train", "--freeze", "there is no option for it: --backbone-lr 0 --batch-norm frozen"),
        ("train", "--freeze-backbone", "--backbone-lr 0 --batch-norm frozen"),
        ("train", "--model", "did you mean 'backbone'?"),
        ("train", "--dropout", "against overfitting there are --weight-decay"),
        ("train", "--imgsz", "did you mean 'size'?"),
        ("train", "--amp", "did you mean 'precision'?"),
        ("train", "--val-split", "did you mean 'val_fraction'?"),
        ("train", "--name", "did you mean 'out'?"),
        ("train", "--early-stopping", "the best epoch on validation photos is kept"),
        ("train", "--wandb", "metrics.csv has the figures of each epoch"),
        ("train", "--learning-rate", "did you mean 'head_lr'?"),
        ("train", "--num-classes", "the classes are those that the photos have"),
        ("predict", "--topk", "did you mean 'top'?"),
        ("predict", "--probs", "did you mean 'probabilities'?"),
        ("predict", "--source", "did you mean 'photos'?"),
        ("predict", "--conf-thres", "did you mean 'threshold'?"),
        ("evaluate", "--bs", "did you mean 'batch_size'?"),
    ],
)
def test_the_words_of_other_tools_are_understood(verb: str, flag: str, said: str) -> None:
    options = options_of(getattr(mge, verb))
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse(verb, options, [flag, "1"])


def test_every_word_of_another_tool_leads_to_an_option_that_there_is() -> None:
    verbs = [options_of(getattr(mge, verb)) for verb in mge.VERBS]
    known = {name for options in verbs for name in options} | set(mge.VERBS)
    assert {name for names in MEANT.values() for name in names} <= known
    for hint in INSTEAD_OF.values():
        flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", hint)}
        assert flags <= known
    assert not set(MEANT) & set(INSTEAD_OF)


def test_a_flag_that_many_know_by_another_name_is_taken_by_it() -> None:
    options = options_of(mge.predict)
    assert settings_of("--conf", "0.5", options=options) == settings_of("--threshold=0.5", options=options)
    assert settings_of("--confidence=0.5", options=options) == {"threshold": 0.5}
    with pytest.raises(ConfigError, match="unknown option 'conf'"):
        settings_of("--conf", "0.5")


def test_an_argument_too_many_is_refused() -> None:
    with pytest.raises(ConfigError, match="unexpected argument 'b'; see mge verb --help"):
        settings_of("a", "b", options={"run": OPTIONS["run"]})


def write(folder: Path, text: str) -> str:
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_file_is_read_like_flags(tmp_path: Path) -> None:
    text = "run: 007  # a comment\nphotos: [a.jpg, no]\nrate: 5e-4\nflip: off\ncache: no\ndevices: 1\nnote: null\n"
    assert settings_of("--config", write(tmp_path, text)) == {
        "run": "007", "photos": ["a.jpg", "no"], "rate": 5e-4, "flip": False, "cache": "no", "devices": "1",
        "note": None,
    }  # fmt: skip


def test_one_value_of_a_list_needs_no_brackets(tmp_path: Path) -> None:
    assert settings_of("--config", write(tmp_path, "photos: a.jpg")) == {"photos": ["a.jpg"]}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert settings_of("--config", write(tmp_path, "# nothing\n")) == {}


def test_flags_win_over_files_wherever_they_stand_and_later_files_over_earlier(tmp_path: Path) -> None:
    first = write(tmp_path, "rate: 1\nnote: first")
    second = tmp_path / "second.yaml"
    second.write_text("note: second", encoding="utf-8")
    assert settings_of("--rate", "2", "--config", first, "--config", str(second)) == {"rate": 2.0, "note": "second"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 1\nrat: 2", "settings.yaml', line 2: unknown option 'rat'; did you mean 'rate'[?]"),
        ("rate: x", "settings.yaml', line 1: rate is 'x'; accepted: a number"),
        ("rate: [1]", "rate is a list or mapping; accepted: a number"),
        ("rate: {a: 1}", "rate is a list or mapping; accepted: a number"),
        ("rate: null", "rate is 'null'; accepted: a number"),
        ("rate: 1\nrate: 2", "line 2: rate is given twice"),
        ("- rate", "has no settings; accepted: lines such as"),
        ("rate: [", "is no YAML"),
        ("? [a, b]\n: c", "unknown option"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of("--config", write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml' cannot be read: No such file"):
        settings_of("--config", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="is no file; give a YAML file"):
        settings_of("--config", str(tmp_path))
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match="it is no text in UTF-8"):
        settings_of("--config", str(tmp_path / "photo.jpg"))


def test_a_switch_that_may_be_left_open_is_a_switch_all_the_same(tmp_path: Path) -> None:
    def verb(photos: list[str], *, fast: bool | None = None) -> None:
        """Does something."""

    options = options_of(verb)
    assert settings_of("--fast", "a.jpg", options=options) == {"photos": ["a.jpg"], "fast": True}
    assert settings_of("a.jpg", "--no-fast", options=options) == {"photos": ["a.jpg"], "fast": False}
    assert settings_of("a.jpg", "--config", write(tmp_path, "fast: null"), options=options)["fast"] is None
