"""Settings out of a command line and of configuration files.

A flag and a line of a file are the same text, read by the same function: `5e-4`, `no` and `007` mean the same in both.
"""

import argparse
import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mge.config import suggest
from mge.errors import ConfigError
from mge.options import BOOLEANS, REQUIRED, Option, describe

ALIASES = {"conf": "threshold", "confidence": "threshold"}  # what many call a flag that we have, and nothing else


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Args:
        settings: Values by the name of their option; only what was set.
        wants_help: Whether help shall be shown, and nothing be done.
        wants_config: Whether the configuration shall be shown, and nothing be done.
    """

    settings: dict[str, Any]
    wants_help: bool
    wants_config: bool


def parse(verb: str, options: Mapping[str, Option], args: list[str]) -> Request:
    """Reads flags and the files they name: flags win over files, later files over earlier ones.

    Raises:
        ConfigError: an option is unknown, or has a value of a wrong type, or a file cannot be read.
    """
    parser = build_parser(verb, options)
    given, unknown = parser.parse_known_intermixed_args(_normalize(args, options))
    for text in unknown:
        if text.startswith("-"):
            check_known(text.lstrip("-").partition("=")[0], options, kind="option", help_command=f"mge {verb} --help")
        raise ConfigError(f"unexpected argument {text!r}; see mge {verb} --help")
    settings: dict[str, Any] = {}
    for file in given.config:
        settings |= read_config_file(Path(file), options)
    for name, option in options.items():
        if hasattr(given, name):
            text = getattr(given, name)
            settings[name] = [option.read(item) for item in text] if option.is_list else option.read(text)
    return Request(settings, wants_help=given.help, wants_config=given.print_config)


def check_known(name: str, known: Collection[str], *, kind: str, help_command: str) -> None:
    """Raises ConfigError unless the name is known, and suggests the nearest."""
    if name not in known:
        near = suggest(name, known)
        hint = f"{near} See" if near else "see"
        raise ConfigError(f"unknown {kind} {name!r}; {hint} {help_command}")


def _normalize(args: list[str], options: Mapping[str, Option]) -> list[str]:
    """Flags with underscores, and switches with a value: `--flip` is `--flip=true`, `--no-flip` is `--flip=false`."""
    switches = {name for name, option in options.items() if option.hint in (bool, bool | None)}
    normal: list[str] = []
    for arg, following in zip(args, [*args, ""][1:], strict=True):
        name, equals, value = arg.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if name not in options and ALIASES.get(name) in options:
            name = ALIASES[name]
        if not arg.startswith("--") or not name:
            normal.append(arg)
        elif equals or (name in switches and following.lower() in BOOLEANS):
            normal.append(f"--{name}{equals}{value}")
        elif name in switches:
            normal.append(f"--{name}=true")
        elif name.removeprefix("no_") in switches:
            normal.append(f"--{name.removeprefix('no_')}=false")
        else:
            normal.append(f"--{name}")
    return normal


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are ConfigErrors of one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def build_parser(
    verb: str, options: Mapping[str, Option], *, summary: str = "", defaults: Mapping[str, Any] | None = None
) -> argparse.ArgumentParser:
    """The parser of a verb. It leaves values as text, and help with `defaults` to be asked for."""
    parser = _Parser(
        prog=f"mge {verb}", usage=_usage(verb, options), description=summary, add_help=False, allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    groups = {"": parser.add_argument_group("what it takes (--head-lr and --head_lr are the same)")}
    for option in options.values():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add(option, groups[option.group], default=(defaults or {}).get(option.name))
    for name, keywords in _COMMON_FLAGS.items():
        groups[""].add_argument(*name.split(), **keywords)
    return parser


_COMMON_FLAGS: dict[str, dict[str, Any]] = {
    "--config": {
        "action": "append", "default": [], "metavar": "FILE.yaml", "help": "Read settings from a file; flags win."
    },
    "--print_config": {
        "action": "store_true", "default": False, "help": "Write all settings as such a file, and do nothing else."
    },
    "--help -h": {"action": "store_true", "default": False, "help": "Show this help, and do nothing else."},
}  # fmt: skip


def _add(option: Option, group: argparse._ArgumentGroup, *, default: object) -> None:
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    text = (option.help if default is None else f"{option.help} (default: {shown})").replace("%", "%%")
    if option.is_positional:
        nargs = "*" if option.is_list else "?"
        group.add_argument(option.name, nargs=nargs, metavar=option.name.upper(), help=text)
    else:
        nargs = "+" if option.is_list else None  # type: ignore[assignment]
        group.add_argument(f"--{option.name}", nargs=nargs, metavar=option.metavar, help=text)


def _usage(verb: str, options: Mapping[str, Option]) -> str:
    words = [f"mge {verb}"]
    for option in options.values():
        if option.is_positional:
            word = option.name.upper() + (" ..." if option.is_list else "")
            words.append(word if option.default is REQUIRED else f"[{word}]")
    return " ".join([*words, "[--option value ...]"])


def read_config_file(file: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """The settings of a YAML file.

    Raises:
        ConfigError: it cannot be read, has an unknown or repeated name, or a value of a wrong type.
    """
    if file.exists() and not file.is_file():
        raise ConfigError(f"config {str(file)!r} is no file; give a YAML file")
    try:
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
        try:
            check_known(name, options, kind="option", help_command="--help")
            if name in settings:
                raise ConfigError(f"{name} is given twice; keep one of them")
            settings[name] = _read_node(options[name], value)
        except ConfigError as error:
            raise ConfigError(f"config {str(file)!r}, line {key.start_mark.line + 1}: {error}") from None
    return settings


def _read_node(option: Option, node: yaml.Node) -> Any:  # noqa: ANN401  (whatever the option's type says)
    """A value of a file: its text is read as a flag's would be, whatever YAML takes it for."""
    items = node.value if option.is_list and isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise ConfigError(f"{option.name} is a list or mapping; accepted: {describe(option.item_hint)}")
    values = [option.read("null" if item.tag == "tag:yaml.org,2002:null" else item.value) for item in items]
    return values if option.is_list else values[0]
