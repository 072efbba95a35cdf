"""Command lines and configuration files as calls of a function.

cyclopts finds the names and writes the help. The values are read here, so that `5e-4`, `no` and `007` mean the same on
a command line and in a file. An option is a parameter of the function; where the function takes `**options`, the
options are the fields of the dataclasses in `mge.config`.
"""

import contextlib
import dataclasses
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import cyclopts
import yaml
from cyclopts.exceptions import ArgumentOrderError, MissingArgumentError, UnknownOptionError, UnusedCliTokensError

from mge.config import INSTEAD, PRESETS, DataConfig, ModelConfig, TrainConfig, as_plain, suggest
from mge.config.previous_names import OPTIONS, describe_rename, rename_option
from mge.errors import ConfigError
from mge.storage.files import kind_at

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

HELP_FLAGS = {"--help", "-h", "--help-all", "--help_all"}
# Other names of options. A name that could mean several options of a command, or is one itself, is an alias of none.
ALIASES = {
    "conf": ("threshold",), "confidence": ("threshold",), "batch": ("batch_size",), "imgsz": ("size",),
    "model": ("run", "backbone"), "output": ("out",), "out": ("output",), "device": ("accelerator",),
}  # fmt: skip
# The options that `--help` shows of commands with many; `--help-all` shows all.
FREQUENT = {
    "train": {
        "data", "preset", "out", "resume", "backbone", "experts", "size", "val_fraction", "test_fraction", "flip",
        "workers", "epochs", "time_limit", "early_stop", "batch_size", "seed", "pretrained", "weights", "backbone_lr",
        "head_lr", "balance", "baseline", "precision", "accelerator", "devices",
    },
    "distill": {
        "run", "data", "out", "temperature", "teacher_weight", "part_filters", "backbone", "epochs", "batch_size",
        "seed", "accelerator", "devices",
    },
}  # fmt: skip
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# The types of values: what an error says that is accepted, and what stands for a value in the help.
TYPES: dict[Any, tuple[str, str]] = {
    bool: ("true, false", ""), int: ("a whole number", "N"), float: ("a number", "X"), types.NoneType: ("null", ""),
    str: ("text", "TEXT"), Path: ("text", "TEXT"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Option:
    """A parameter of a function, or a field of a configuration.

    Args:
        name: Of the parameter or field.
        hint: Its type.
        default: Its default value; `inspect.Parameter.empty` if it is required.
        help: Its description.
        group: The heading of the help that it stands under.
        kind: `inspect`'s kind of the parameter.
    """

    name: str
    hint: Any
    default: Any
    help: str
    group: str = "Arguments and options"
    kind: Any = inspect.Parameter.KEYWORD_ONLY

    @property
    def is_required(self) -> bool:
        """True if there is no default value."""
        return self.default is inspect.Parameter.empty

    @property
    def is_list(self) -> bool:
        """True if it takes several values."""
        return get_origin(self.hint) is list

    @property
    def blank(self) -> object:
        """Value of the type that cyclopts is told, for an option that is not set."""
        return False if self.is_switch else [] if self.is_list else ""

    @property
    def is_switch(self) -> bool:
        """True if its name alone sets it."""
        return self.hint in (bool, bool | None)

    def read(self, text: str | list[str]) -> Any:  # noqa: ANN401  (whatever the type says)
        """Return the value that a text stands for; of a list, the values of several texts.

        Raises:
            ConfigError: a text stands for no value of the option's type.
        """
        if not isinstance(text, str):
            return [self.read(item) for item in text]
        try:
            return read_text(self.hint, text)
        except ValueError:
            accepted = describe(self.hint) + INSTEAD.get(self.name, "")
            raise ConfigError(f"{self.name} is {text!r}; accepted: {accepted}") from None


COMMON = [
    Option("config", list[str], None, "YAML file with settings; options win over it.", "Common options"),
    Option("print_config", bool, None, "Print all settings as such a file, and do nothing else.", "Common options"),
]


def run_command(function: Callable[..., object], args: list[str]) -> str:
    """Call a command's function with what the command line sets, or return the help or configuration it asks for.

    Only what was set is handed over: defaults, also a preset's, are the function's own business.

    Raises:
        ConfigError: an option is unknown, has a value of a wrong type, or is missing.
    """
    options, asked = options_of(function), HELP_FLAGS.intersection(args)
    settings = parse(function, [arg for arg in args if arg not in asked])
    print_config = settings.pop("print_config", False)
    preset = PRESETS[settings.get("preset", "default")] if "preset" in options else {}
    options = {
        name: dataclasses.replace(each, default=preset.get(name, each.default)) for name, each in options.items()
    }
    if asked:
        return write_help(function, options, is_short=asked <= {"--help", "-h"})
    if print_config:
        defaults = {name: option.default for name, option in options.items() if not option.is_required}
        plain = {name: as_plain(value) for name, value in {**defaults, **settings}.items()}
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    for name, option in options.items():
        if option.is_required and not settings.get(name):
            raise ConfigError(f"{name} is missing; see mge {function.__name__} --help")
    function(**settings)
    return ""


def parse(function: Callable[..., object], args: list[str]) -> dict[str, Any]:
    """Return what a command line and the files that it names set: it wins over them, later files over earlier ones.

    Raises:
        ConfigError: an option is unknown, or has a value of a wrong type, or a file cannot be read.
    """
    options = options_of(function)
    # Defaults of the type of their hints: where pydantic is loaded, cyclopts has it validate them.
    app = build_app([dataclasses.replace(each, default=each.blank) for each in (*options.values(), *COMMON)])
    try:
        _, bound, _ = app.parse_args(
            join_switches(rename_previous(args, options), options), print_error=False, exit_on_error=False
        )
    except cyclopts.CycloptsError as error:
        raise _explain(error, options, help_command=f"mge {function.__name__} --help") from None
    settings: dict[str, Any] = {}
    for file in bound.arguments.pop("config", []):
        settings |= read_config_file(Path(file), options)
    for name, value in bound.arguments.items():
        settings[name] = value if isinstance(value, bool | None) else options[name].read(value)
    return settings


def options_of(function: Callable[..., object]) -> dict[str, Option]:
    """Return a function's options by their names, with the help of its docstring."""
    help_texts = read_argument_help(function.__doc__ or "")
    options: dict[str, Option] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            options |= _fields(ModelConfig) | _fields(DataConfig) | _fields(TrainConfig)
            continue
        # With `from __future__ import annotations` a hint is text. Each is evaluated by itself, because the type of the
        # function's result may be known to type checkers only.
        hint = parameter.annotation
        hint = eval(hint, inspect.unwrap(function).__globals__) if isinstance(hint, str) else hint
        options[name] = Option(name, hint, parameter.default, help_texts.get(name, ""), kind=parameter.kind)
    return options


def _fields(cls: type[ModelConfig | DataConfig | TrainConfig]) -> dict[str, Option]:
    documentation = inspect.getdoc(cls) or ""
    group = documentation.partition("\n")[0].removesuffix(".")
    texts = read_argument_help(documentation)
    return {
        each.name: Option(each.name, each.type, each.default, texts[each.name], group)
        for each in dataclasses.fields(cls)
    }


def read_argument_help(docstring: str) -> dict[str, str]:
    """Return the texts of a Google-style docstring's `Args:` section, by argument."""
    section = re.search(r"^Args:\n((?: .*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def build_app(options: Collection[Option], *, about: str = "") -> cyclopts.App:
    """Return the cyclopts application of one command, which finds values and leaves them as text.

    Args:
        options: Of the command.
        about: The top of its help.
    """

    def command() -> None:
        """Stand for the command's function."""

    names = {option.name for option in options}
    groups = {option.group: cyclopts.Group.create_ordered(option.group) for option in options}
    parameters = []
    for option in options:
        details = cyclopts.Parameter(
            alias=[
                f"--{alias}"
                for alias, meant in ALIASES.items()
                if names.intersection(meant) == {option.name} and alias not in names
            ],
            group=groups[option.group], help=option.help, metavar=describe(option.hint, in_help=True),
            show_default=str(option.default).lower() if isinstance(option.default, bool) else None,
            negative=() if option.group == COMMON[0].group else None, negative_iterable=(), allow_repeating=True,
        )  # fmt: skip
        hint = option.hint if option.is_switch else list[str] if option.is_list else str
        annotation = Annotated[hint, details]  # type: ignore[valid-type]
        parameters.append(inspect.Parameter(option.name, option.kind, default=option.default, annotation=annotation))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = cyclopts.App(help_flags=(), version_flags=(), usage="", help="", help_prologue=about, help_format="plaintext")
    app.default(command)
    return app


def rename_previous(args: list[str], options: Mapping[str, Option]) -> list[str]:
    """Return arguments by the names of options now, with a warning for each previous name."""
    words: list[str] = []
    rest = list(args)
    while rest:
        word = typed = rest.pop(0)
        found = re.fullmatch(r"--(no-)?([\w-]+)(=.*)?", word, re.DOTALL)
        name = found[2].replace("-", "_") if found else ""
        if found and _is_previous(name, options):
            now, value = rename_option(name, found[3][1:] if found[3] else rest[0] if rest else "")
            word = f"--{found[1] or ''}{now}".replace("_", "-")
            if found[3]:
                word += f"={value}"
            elif rest and value != rest[0]:
                typed, word, rest = f"{typed} {rest[0]}", f"{word}={value}", rest[1:]
            sys.stderr.write(f"mge: warning: {describe_rename(typed, word)}\n")
        words.append(word)
    return words


def _is_previous(name: str, options: Mapping[str, Option]) -> bool:
    return name in OPTIONS and name not in options and OPTIONS[name][0] in options


def join_switches(args: list[str], options: Mapping[str, Option]) -> list[str]:
    """Return arguments in which no switch has a value: `--flip false` is `--no-flip`."""
    words: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, _, value = word.partition("=")
        option = options.get(name.removeprefix("--").replace("-", "_"))
        if option and option.is_switch and word.startswith("--"):
            value = value or (rest.pop(0) if rest and rest[0].lower() in BOOLEANS else "true")
            word = {True: name, False: f"--no-{name[2:]}", None: f"{name}=null"}[option.read(value)]
        words.append(word)
    return words


def _explain(error: cyclopts.CycloptsError, options: Mapping[str, Option], *, help_command: str) -> ConfigError:
    """Return what cyclopts complains about, in the words of MGE."""
    if isinstance(error, UnknownOptionError):
        name = (error.token.keyword or error.token.value).lstrip("-").partition("=")[0].replace("-", "_")
        check_known(name, options, kind="option", help_command=help_command)
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return ConfigError(f"unexpected argument {error.unused_tokens[0]!r}; see {help_command}")
    if isinstance(error, MissingArgumentError):
        return ConfigError(f"{error.keyword} has no value; see {help_command}")
    if isinstance(error, ArgumentOrderError) and error.argument:
        named = error.prior_positional_or_keyword_supplied_as_keyword_arguments[0].name
        return ConfigError(f"{error.token!r} follows {named}; name it too: {error.argument.name} {error.token}")
    return ConfigError(f"{error}; see {help_command}")


def check_known(name: str, known: Collection[str], *, kind: str, help_command: str) -> None:
    """Raise ConfigError unless the name is known, and suggest the nearest."""
    if name not in known:
        near = suggest(name, known)
        hint = f"{near} See" if near else "see"
        raise ConfigError(f"unknown {kind} {name!r}; {hint} {help_command}")


def write_help(function: Callable[..., object], options: Mapping[str, Option], *, is_short: bool) -> str:
    """Return the help of a command.

    Args:
        function: Of the command.
        options: Of the function, with the defaults that hold.
        is_short: Whether only the options that most people need are in it.
    """
    from rich.console import Console  # noqa: PLC0415  (0.1 s, and only help needs it)

    frequent = FREQUENT.get(function.__name__, options) if is_short else options
    shown = [option for name, option in options.items() if name in frequent]
    words = ["Usage: mge", function.__name__]
    for option in shown:
        if option.kind is not inspect.Parameter.KEYWORD_ONLY:
            word = option.name.upper() + "..." * option.is_list
            words.append(word if option.is_required else f"[{word}]")
    text, _, examples = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0].partition("\n\nExamples:\n")
    about = [" ".join([*words, "[OPTIONS]"]), *(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))]
    app = build_app([*shown, *COMMON], about="\n\n".join([*about, *([f"Examples:\n{examples}"] if examples else [])]))
    app.help_formatter = _print_group
    console = Console(color_system=None)
    with console.capture() as capture:
        app.help_print([], console=console)
    more = f"\n\n--help-all shows {len(options) - len(shown)} more options." if len(options) > len(shown) else ""
    return "".join(f"{line.rstrip()}\n" for line in (capture.get().rstrip() + more).splitlines())


def _print_group(console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
    """Print the options of one heading in two columns; cyclopts calls it with these names."""
    from cyclopts.help import ColumnSpec, NameRenderer, TableSpec  # noqa: PLC0415  (as above)
    from cyclopts.help.specs import DescriptionColumn  # noqa: PLC0415

    columns = (ColumnSpec(renderer=NameRenderer(26), width=26), DescriptionColumn)
    console.print(f"{panel.title}:", highlight=False)
    console.print(TableSpec(padding=(0, 0, 0, 2), pad_edge=True).build(columns, panel.entries), "")


def read_config_file(file: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """Return the settings of a YAML file.

    Raises:
        ConfigError: it cannot be read, has an unknown or repeated name, or a value of a wrong type.
    """
    try:
        if kind_at(file) not in (None, "file"):
            raise ConfigError(f"config {str(file)!r} is no file; give a YAML file")
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"config {str(file)!r} cannot be read: {reason}; give a YAML file") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"config {str(file)!r} is no YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode | None):
        raise ConfigError(f"config {str(file)!r} has no settings; accepted: lines such as `experts: 3`")
    settings: dict[str, Any] = {}
    for key, value in root.value if root else ():
        name = str(key.value)
        if _is_previous(name, options):
            typed = name
            name = _rename_entry(name, value)
            sys.stderr.write(
                f"mge: warning: config {str(file)!r}, line {key.start_mark.line + 1}: {describe_rename(typed, name)}\n"
            )
        try:
            check_known(name, options, kind="option", help_command="--help")
            if name in settings:
                raise ConfigError(f"{name} is given twice; keep one of them")
            settings[name] = _read_node(options[name], value)
        except ConfigError as error:
            raise ConfigError(f"config {str(file)!r}, line {key.start_mark.line + 1}: {error}") from None
    return settings


def _rename_entry(name: str, node: yaml.Node) -> str:
    """Return the name now of a file's option, whose value gets its name of now."""
    if isinstance(node, yaml.ScalarNode):
        name, node.value = rename_option(name, node.value)
        return name
    return OPTIONS[name][0]


def _read_node(option: Option, node: yaml.Node) -> Any:  # noqa: ANN401  (whatever the option's type says)
    """Return a value of a file: its text is read as an argument's would be, whatever YAML takes it for."""
    items = node.value if option.is_list and isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise ConfigError(f"{option.name} is a list or mapping; accepted: {describe(option.hint)}")
    texts = ["null" if item.tag == "tag:yaml.org,2002:null" else item.value for item in items]
    return option.read(texts if option.is_list else texts[0])


def _members(hint: Any) -> list[Any]:  # noqa: ANN401  (a type)
    """Return the types and the choices of which a value can be one; of a list, of which an item can be."""
    if get_origin(hint) in (Union, types.UnionType, list):
        return [member for part in get_args(hint) for member in _members(part)]
    return list(get_args(hint)) if get_origin(hint) is Literal else [hint]


def describe(hint: Any, *, in_help: bool = False) -> str:  # noqa: ANN401  (a type)
    """Return what a person may write for a type; in the help, what stands for it."""
    words = [
        TYPES.get(member, TYPES[str])[in_help] if isinstance(member, type) else str(member) for member in _members(hint)
    ]
    return (" | " if in_help else ", ").join(dict.fromkeys(filter(None, words)))


def read_text(hint: Any, text: str) -> Any:  # noqa: ANN401  (a type, and a value of it)
    """Return the value of a type that a text stands for; of a union null, or else its first member that can be it.

    Raises:
        ValueError: it stands for none.
    """
    members = _members(hint)
    exact = {str(member): member for member in members if not isinstance(member, type)}
    exact |= {"null": None} if types.NoneType in members else {}
    if text in exact:
        return exact[text]
    for member in members:
        if member is bool and text.lower() in BOOLEANS:
            return BOOLEANS[text.lower()]
        if member in (int, float, str, Path):
            with contextlib.suppress(ValueError):
                value = member(text)
                if not isinstance(value, float) or math.isfinite(value):
                    return value
    raise ValueError(f"{text!r} is none of {hint}")
