"""The command line calls functions, and turns errors into one line and an exit code."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import mge
from mge import VERBS
from mge.cli import main
from mge.config import ModelConfig, Preset, split_options
from mge.errors import ConfigError, DivergedError, Interrupted


class Recorder:
    """A verb that remembers what it was called with, and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.error: BaseException | None = None


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The verb `fake`, with the signature of `train`."""
    recorder = Recorder()

    def fake(data: str | None = None, *, preset: Preset = "default", out: Path | None = None, **options: Any) -> None:  # noqa: ANN401
        """Pretends to train.

        Args:
            data: The photos, at 100 %.
            preset: Whose values hold.
            out: The folder.
            options: The rest.
        """
        if recorder.error is not None:
            raise recorder.error
        recorder.calls.append({"data": data, "preset": preset, "out": out, **options})

    module = ModuleType("mge.tasks.fake")
    module.fake = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mge.tasks.fake", module)
    monkeypatch.setattr(mge, "VERBS", (*VERBS, "fake"))
    return recorder


def test_a_verb_is_called_with_what_was_set_and_nothing_else(verb: Recorder) -> None:
    assert main(["fake", "beetles", "--head-lr", "0.5", "--experts", "2"]) == 0
    assert verb.calls == [{"data": "beetles", "preset": "default", "out": None, "head_lr": 0.5, "experts": 2}]


def test_the_first_argument_may_come_from_a_file(verb: Recorder, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: beetles\nexperts: 2\n", encoding="utf-8")
    assert main(["fake", "--config", str(file), "--experts", "4"]) == 0
    assert verb.calls == [{"data": "beetles", "preset": "default", "out": None, "experts": 4}]


def test_a_users_mistake_is_one_line_and_exit_code_2(verb: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fake", "--expertz", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "mge: error: unknown option 'expertz'; did you mean 'experts'? See mge fake --help\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a\n  b"), 2),
        (DivergedError("a b"), 3),
        (Interrupted("a b", signal_number=15), 143),
    ],
)
def test_an_error_that_the_user_can_mend_is_one_line(
    verb: Recorder, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    verb.error = error
    assert main(["fake"]) == code
    assert capsys.readouterr().err == "mge: error: a b\n"


def test_an_error_that_is_a_bug_keeps_its_traceback(verb: Recorder) -> None:
    verb.error = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        main(["fake"])


def test_ctrl_c_exits_with_130(verb: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    verb.error = KeyboardInterrupt()
    assert main(["fake"]) == 130
    assert capsys.readouterr().err == "mge: interrupted\n"


def test_help_shows_every_option_with_its_default(verb: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fake", "--help"]) == 0
    text = capsys.readouterr().out
    assert "Pretends to train." in text
    assert "at 100 %." in text
    assert all(f"--{name.replace('_', '-')} " in text for name in ModelConfig.__dataclass_fields__)
    assert verb.calls == []


def test_a_preset_changes_the_defaults_that_help_shows(verb: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fake", "--help"]) == 0
    plain = " ".join(capsys.readouterr().out.split())  # a default may be wrapped
    assert main(["fake", "--help", "--preset", "authors"]) == 0
    assert "default: label" not in plain
    assert "default: label" in " ".join(capsys.readouterr().out.split())


def test_the_printed_configuration_does_the_same_as_the_flags(
    verb: Recorder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["fake", "photos", "--preset", "authors", "--experts", "2", "--print_config"]) == 0
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["fake", "--config", str(file)]) == 0
    (call,) = verb.calls
    assert (call.pop("data"), call.pop("preset"), call.pop("out")) == ("photos", "authors", None)
    assert split_options(call) == split_options({"experts": 2}, preset="authors")
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["zoom_from"] == "previous"


def test_an_unknown_verb_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "mge: error: unknown command 'trian'; did you mean 'train'? See mge --help\n"


def test_a_missing_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "RUN"]) == 2
    assert capsys.readouterr().err == "mge: error: photos is missing; see mge predict --help\n"


def test_without_a_verb_or_with_help_the_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == text
    for verb in VERBS:
        assert f"\n  {verb} " in text


def test_help_of_a_command_is_there_in_two_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "convert"]) == 0
    text = capsys.readouterr().out
    assert main(["convert", "--help"]) == 0
    assert capsys.readouterr().out == text
    assert text.startswith("Usage: mge convert CHECKPOINT OUT [OPTIONS]\n")
    assert main(["help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: mge COMMAND")
    assert main(["help", "trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mge {mge.__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = "import os, sys\nfrom mge.cli import main\nsys.exit(main(['train', '--help']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")


@pytest.mark.parametrize("args", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_is_quick_and_loads_no_torch(args: list[str]) -> None:
    script = (
        "import sys\nfrom mge.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'torchvision', 'timm', 'lightning_fabric', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    tries = (_seconds([sys.executable, "-c", script, *args]) for _ in range(3))
    assert any(seconds < 1.0 for seconds in tries)  # 0.1 s on an idle machine; the bar is 0.4 s there


def _seconds(command: list[str]) -> float:
    """CPU time, which does not depend on what else the machine does."""
    before = os.times()
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return min(used, time.perf_counter() - started)


@pytest.mark.parametrize(
    ("error", "limit", "line"),
    [
        (MemoryError(), None, "mge: error: there is not enough memory (MemoryError); use fewer at a time"),
        (RuntimeError("Allocator: can't allocate memory: you tried\nto"), None, "can't allocate memory: you tried)"),
        (RuntimeError("could not create a primitive"), 2 * 10**9, "is limited to 2.0 GB: raise ulimit -v"),
        (RuntimeError("can't start new thread"), 2 * 10**9, "is limited to 2.0 GB: raise ulimit -v"),
    ],
)
def test_where_memory_runs_out_that_is_one_line(
    verb: Recorder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception,
    limit: int | None, line: str,
) -> None:  # fmt: skip
    for module in ("mge.console.allocator", "mge.cli"):
        monkeypatch.setattr(f"{module}.memory_limit", lambda: limit)
    verb.error = error
    assert main(["fake"]) == 71
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said


def test_without_a_limit_the_same_words_are_a_bug(verb: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mge.console.allocator.memory_limit", lambda: None)
    verb.error = RuntimeError("could not create a primitive")
    with pytest.raises(RuntimeError, match="primitive"):
        main(["fake"])


def test_a_command_goes_on_working_under_its_previous_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["localise", "--help"]) == 0
    shown = capsys.readouterr()
    assert (
        shown.err
        == "mge: warning: `mge localise` is called `mge localize`; the previous name is removed after this release\n"
    )
    assert main(["localize", "--help"]) == 0
    assert capsys.readouterr() == (shown.out, "")


def test_a_function_goes_on_working_under_its_previous_name() -> None:
    with pytest.warns(FutureWarning, match=r"^mge.localise is called mge.localize; the previous name is removed"):
        assert mge.localise is mge.localize
