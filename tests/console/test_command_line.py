"""Command lines and configuration files become settings, and signatures become options and help."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import mge
from mge.config import DataConfig, ModelConfig, TrainConfig
from mge.config.words import INSTEAD_OF, MEANT
from mge.console.command_line import (
    ALIASES,
    FREQUENT,
    Option,
    describe,
    options_of,
    parse,
    read_argument_help,
    read_text,
    run_command,
)
from mge.errors import ConfigError


def _verb(
    run: str, photos: list[str], *, rate: float = 0.5, head_lr: float = 0.1, flip: bool = True,
    cache: Literal["yes", "no"] = "yes", devices: str = "1", note: str | None = None,
) -> None:  # fmt: skip
    """Does something."""


_verb.__name__ = "verb"


def settings_of(*args: str, function: Callable[..., Any] = _verb) -> dict[str, Any]:
    return parse(function, list(args))


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


def test_a_program_that_has_loaded_pydantic_reads_the_same() -> None:
    """Where pydantic is loaded, cyclopts has it validate every value, defaults included."""
    code = (
        "import pydantic; from mge.console.command_line import parse; from mge.tasks.predict import predict;"
        "print(parse(predict, ['model', 'a.jpg', '--top', '3', '--cascade']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == {"run": "model", "photos": ["a.jpg"], "top": 3, "cascade": True}


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
        (["--rate"], "--rate has no value; see mge verb --help"),
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
        ("train", "--freeze", "did you mean 'freeze_backbone'?"),
        ("train", "--arch", "did you mean 'backbone'?"),
        ("train", "--dropout", "against overfitting there are --weight-decay"),
        ("train", "--image-size", "did you mean 'size'?"),
        ("train", "--amp", "did you mean 'precision'?"),
        ("train", "--val-split", "did you mean 'val_fraction'?"),
        ("train", "--name", "did you mean 'out'?"),
        ("train", "--early-stopping", "did you mean 'early_stop'?"),
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
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse(getattr(mge, verb), [flag, "1"])


def test_every_word_of_another_tool_leads_to_an_option_that_there_is() -> None:
    verbs = [options_of(getattr(mge, verb)) for verb in mge.VERBS]
    known = {name for options in verbs for name in options} | set(mge.VERBS)
    assert {name for names in MEANT.values() for name in names} <= known
    for hint in INSTEAD_OF.values():
        flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", hint)}
        assert flags <= known
    assert not set(MEANT) & set(INSTEAD_OF)


def test_names_that_many_know_are_taken_where_they_can_mean_one_option_only() -> None:
    assert settings_of("--conf", "0.5", function=mge.predict) == {"threshold": 0.5}
    assert settings_of("--confidence=0.5", function=mge.predict) == {"threshold": 0.5}
    assert settings_of("--model", "resnet18", "--imgsz", "64", "--batch", "auto", function=mge.train) == {
        "backbone": "resnet18", "size": 64, "batch_size": "auto"
    }  # fmt: skip
    assert settings_of("--model", "RUN", function=mge.evaluate) == {"run": "RUN"}
    assert settings_of("--output", "RUN", "--device", "cpu", function=mge.train) == {"out": "RUN", "accelerator": "cpu"}
    assert settings_of("--out", "a.csv", "--device", "cuda", function=mge.predict) == {
        "output": "a.csv", "device": "cuda"
    }  # fmt: skip
    with pytest.raises(ConfigError, match="unknown option 'conf'"):
        settings_of("--conf", "0.5")
    with pytest.raises(ConfigError, match="unknown option 'model'; did you mean 'backbone'"):
        settings_of("--model", "x", function=mge.distill)  # the teacher, or the student's backbone


def test_an_argument_too_many_is_refused() -> None:
    def verb(run: str) -> None:
        """Does something."""

    with pytest.raises(ConfigError, match="unexpected argument 'b'; see mge verb --help"):
        settings_of("a", "b", function=verb)


def test_an_argument_may_be_named_and_those_after_it_are_named_then() -> None:
    assert settings_of("--run", "RUN", "--photos", "a.jpg", "--photos", "b.jpg") == {
        "run": "RUN", "photos": ["a.jpg", "b.jpg"]
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"^'a.jpg' follows --run; name it too: --photos a.jpg$"):
        settings_of("--run", "RUN", "a.jpg")


def test_the_last_value_wins_where_an_option_is_repeated() -> None:
    assert settings_of("--rate", "1", "--no-flip", "--rate", "2", "--flip") == {"rate": 2.0, "flip": True}


def test_a_switch_takes_words_for_true_and_false_only() -> None:
    for word in ("false", "no", "Off"):
        assert settings_of(f"--flip={word}") == settings_of("--flip", word) == {"flip": False}
    for word in ("maybe", "1", "t"):
        with pytest.raises(ConfigError, match=f"flip is '{word}'; accepted: true, false"):
            settings_of(f"--flip={word}")


def test_values_that_look_like_others_stay_what_they_are() -> None:
    assert settings_of("1e5", "no", "null", "{}", "[1, 2]") == {"run": "1e5", "photos": ["no", "null", "{}", "[1, 2]"]}
    assert settings_of("--note", "None", "--devices", "007") == {"note": "None", "devices": "007"}
    assert settings_of("--note", "null") == {"note": None}
    assert settings_of("--", "--run", "--flip") == {"run": "--run", "photos": ["--flip"]}


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

    assert settings_of("--fast", "a.jpg", function=verb) == {"photos": ["a.jpg"], "fast": True}
    assert settings_of("a.jpg", "--no-fast", function=verb) == {"photos": ["a.jpg"], "fast": False}
    assert settings_of("a.jpg", "--fast=null", function=verb) == {"photos": ["a.jpg"], "fast": None}
    assert settings_of("a.jpg", "--config", write(tmp_path, "fast: null"), function=verb)["fast"] is None


def _train(photos: str | Path, *, top: int = 3, **options: Any) -> None:  # noqa: ANN401
    """Does something.

    Args:
        photos: Files
            and folders.
        top: How many.
        options: The rest.
    """


def test_parameters_become_options_with_their_help() -> None:
    options = options_of(_train)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert options["photos"] == Option("photos", str | Path, inspect.Parameter.empty, "Files and folders.", kind=kind)
    assert options["top"] == Option("top", int, 3, "How many.")


def test_open_ended_options_stand_for_every_field_of_the_configuration() -> None:
    names = [name for cls in (ModelConfig, DataConfig, TrainConfig) for name in cls.__dataclass_fields__]
    options = options_of(_train)
    assert list(options) == ["photos", "top", *names]
    assert all(options[name].help and options[name].group for name in names)


def test_the_type_of_a_result_need_not_be_importable() -> None:
    def verb(number: "int" = 1) -> "NoSuchType":  # type: ignore[name-defined]  # noqa: F821
        """Does nothing."""

    assert options_of(verb)["number"].hint is int


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
        (Literal["auto", "off"] | float | None, "0.5", 0.5),
        (Literal["auto", "off"] | float | None, "off", "off"),
        (int | Literal["auto"], "auto", "auto"),
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
        (int | None, "x", "a whole number, null"),
        (int | Literal["auto"], "1.5", "a whole number, auto"),
        (list[int], "x", "a whole number"),
    ],
)
def test_text_that_is_no_value_is_refused_with_what_is_accepted(hint: Any, text: str, accepted: str) -> None:  # noqa: ANN401
    option = Option("thing", hint, None, "")
    with pytest.raises(ConfigError, match=rf"^thing is {text!r}; accepted: {accepted}$"):
        option.read(text)


def test_a_type_is_described_in_an_error_and_in_the_help() -> None:
    assert (describe(str | Path), describe(str | Path, in_help=True)) == ("text", "TEXT")
    assert (describe(int | Literal["auto"] | None), describe(int | Literal["auto"] | None, in_help=True)) == (
        "a whole number, auto, null",
        "N | auto",
    )


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


def test_tables_of_options_name_what_there_is() -> None:
    for command, names in FREQUENT.items():
        assert set(names) <= set(options_of(getattr(mge, command)))
        assert len(names) <= 30
    known = {name for command in mge.VERBS for name in options_of(getattr(mge, command))}
    assert {name for names in ALIASES.values() for name in names} <= known


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("command", mge.VERBS)
def test_help_is_short_and_begins_with_examples_that_can_be_run(command: str) -> None:
    function = getattr(mge, command)
    lines = run_command(function, ["--help"]).splitlines()
    assert len(lines) <= 90
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"Usage: mge {command} ")
    examples = lines[lines.index("Examples:") + 1 : lines.index("Arguments and options:") - 1]
    assert len(examples) == 2
    for example in examples:
        program, name, *args = example.split()
        assert (program, name) == ("mge", command)
        given = parse(function, args)
        assert all(name in given for name, option in options_of(function).items() if option.is_required)


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("command", mge.VERBS)
def test_help_all_shows_every_option(command: str) -> None:
    function = getattr(mge, command)
    text = run_command(function, ["--help-all"])
    assert [
        name
        for name in options_of(function)
        if f"  --{name.replace('_', '-')}" not in text and f"  {name.upper()} --" not in text
    ] == []
    is_cut = command in FREQUENT
    assert is_cut == (text != run_command(function, ["--help"]))
    assert is_cut == ("--help-all shows" in run_command(function, ["-h"]))
    assert "--help-all shows" not in text


def test_help_shows_defaults_as_they_are_written() -> None:
    text = " ".join(run_command(mge.train, ["--help"]).split())
    assert re.search(r"--flip --no-flip [^\[]*\[default: true\]", text)
    assert "--size --imgsz N" in text
    assert text.count("[default:") < text.count(" --")  # what has none shows none
    assert "[default: None]" not in text


def test_a_preset_changes_the_defaults_of_the_commands_that_have_presets_only() -> None:
    printed = run_command(mge.evaluate, ["RUN", "--print_config"])
    assert "batch_size: 16\n" in printed  # 32 under the default preset of `train`
    assert "batch_size: 32\n" in run_command(mge.train, ["--print-config"])
    assert "batch_size: 10\n" in run_command(mge.train, ["--print_config", "--preset", "authors"])
