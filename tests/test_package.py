"""What the package promises as a whole."""

import ast
import collections
import functools
import pickle
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import mge
import mge.errors

SOURCE = Path(mge.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
# A summary that begins with one of these is a relative clause, which nobody searches for.
RELATIVE_WORDS = {"what", "where", "how", "whether", "which", "when", "who", "whom", "whose", "why", "that", "if"}


@functools.cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def run_python(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_importing_mge_imports_nothing_else() -> None:
    run_python(
        "import sys\nbefore = set(sys.modules)\nimport mge\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before} - {'mge'}\n"
        "assert not loaded - set(sys.stdlib_module_names), loaded\n"
        "assert 'train' in dir(mge)"
    )


def test_options_errors_and_runs_load_no_torch() -> None:
    run_python(
        "import sys\nimport mge\nmge.train, mge.evaluate, mge.predict, mge.ConfigError, mge.Run\n"
        "assert 'torch' not in sys.modules"
    )


@pytest.mark.parametrize("name", mge.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(mge, name) is not None


def test_the_authors_checkpoints_are_read_through_the_package() -> None:
    run_python("import mge\nassert mge.models.authors.from_authors")


def test_the_authors_checkpoints_are_read_after_a_network_was_built() -> None:
    run_python("import mge\nassert mge.MixtureOfExperts\nassert mge.models.authors.from_authors")


def test_the_options_that_the_help_of_train_names_are_there_without_another_import() -> None:
    run_python("import mge\nassert mge.config.TrainConfig().epochs")


def test_every_error_is_public() -> None:
    for name, value in vars(mge.errors).items():
        if isinstance(value, type) and issubclass(value, mge.MgeError):
            assert name in mge.__all__


def test_every_error_comes_back_whole_from_another_process() -> None:
    errors: list[mge.MgeError] = [mge.Interrupted("go on with it", signal_number=15)]
    errors += [kind("what is wrong") for kind in mge.MgeError.__subclasses__() if kind is not mge.Interrupted]
    for error in errors:
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), str(back), back.exit_code) == (type(error), str(error), error.exit_code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mge' has no attribute 'trian'"):
        mge.trian  # noqa: B018


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_is_unpickled(file: Path) -> None:
    """`torch.load` says weights_only=True, and of pickle only the name of its error may be imported."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & {
                item.name for item in node.names
            }
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            assert [item.name for item in node.names] == ["UnpicklingError"]
        if isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("allow_pickle") in (None, "False")
            assert given.get("weights_only") == ("True" if ast.unparse(node.func) == "torch.load" else None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_weights_are_never_loaded_in_part(file: Path) -> None:
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load_state_dict"):
            assert "strict" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_functions_are_short_and_file_names_say_something(file: Path) -> None:
    assert file.stem not in ("utils", "common", "misc", "base", "manager", "engine")
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef):
            documentation = len((ast.get_docstring(node) or "").splitlines())
            num_lines = (node.end_lineno or 0) - node.body[0].lineno + 1 - documentation
            assert num_lines <= 40, node.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_docstrings_begin_with_a_verb_or_a_noun(file: Path) -> None:
    """Ruff's D401 checks the mood of verbs only, and only of functions."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = re.match(r"\w*", ast.get_docstring(node) or "")
            assert first is not None
            assert first[0].lower() not in RELATIVE_WORDS, ast.get_docstring(node)


def test_no_file_name_stands_twice() -> None:
    counts = collections.Counter(file.name for file in FILES if file.name != "__init__.py")
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_module_is_loose_on_the_top_level() -> None:
    assert {file.name for file in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py", "errors.py"}


def test_no_class_name_means_two_things() -> None:
    counts = collections.Counter(
        node.name for file in FILES for node in ast.walk(parse(file)) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in counts.items() if count > 1] == []


def test_half_of_the_files_have_under_200_lines() -> None:
    assert statistics.median(len(file.read_text(encoding="utf-8").splitlines()) for file in FILES) < 200


def test_the_project_file_says_what_each_dependency_is_for() -> None:
    text = (SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|dev) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in lists for line in block.splitlines()]
    assert len(lines) > 10
    assert all(re.fullmatch(r' +"[^"]+", +# .+', line) for line in lines)
