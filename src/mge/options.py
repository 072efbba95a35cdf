"""Options from signatures: names, types and help of a function's parameters, and the parsing of their values.

For a function with `**options`, these are the fields of the dataclasses in `mge.config`.
"""

import contextlib
import dataclasses
import inspect
import math
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from mge.config import INSTEAD, PRESETS, DataConfig, ModelConfig, TrainConfig
from mge.errors import ConfigError

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
METAVARS = {bool: "{true,false}", int: "N", float: "X"}
REQUIRED = inspect.Parameter.empty
WORDS: dict[Any, dict[str, Any]] = {bool: BOOLEANS, types.NoneType: {"null": None}}  # spellings of the values of a type
ACCEPTED = {bool: "true, false", int: "a whole number", float: "a number", types.NoneType: "null"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command.

    Args:
        name: Name of the parameter or field.
        hint: Its type.
        default: Its default value, or `REQUIRED`.
        help: Its description.
        group: Heading in the help; empty for the command's own options.
        is_positional: Whether it is given without its name.
    """

    name: str
    hint: Any
    default: Any
    help: str
    group: str = ""
    is_positional: bool = False

    @property
    def is_list(self) -> bool:
        """True if it takes several values."""
        return get_origin(self.hint) is list

    @property
    def item_hint(self) -> Any:  # noqa: ANN401  (a type)
        """The type of one value."""
        return get_args(self.hint)[0] if self.is_list else self.hint

    @property
    def metavar(self) -> str:
        """Placeholder for its value in the help."""
        hint = self.item_hint
        if get_origin(hint) in (Union, types.UnionType):
            hint = next(member for member in get_args(hint) if member is not types.NoneType)
        if get_origin(hint) is Literal:
            return "{" + ",".join(str(choice) for choice in get_args(hint)) + "}"
        return METAVARS.get(hint, "TEXT")

    def read(self, text: str) -> Any:  # noqa: ANN401  (whatever the type says)
        """Parse a text as its value: one item, if the option is a list.

        Raises:
            ConfigError: it does not match the option's type.
        """
        try:
            return read_text(self.item_hint, text)
        except ValueError:
            accepted = describe(self.item_hint) + INSTEAD.get(self.name, "")
            raise ConfigError(f"{self.name} is {text!r}; accepted: {accepted}") from None


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of a function by name, with the help of its docstring."""
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
        is_positional = parameter.kind is not parameter.KEYWORD_ONLY
        options[name] = Option(name, hint, parameter.default, help_texts.get(name, ""), is_positional=is_positional)
    return options


def _fields(cls: type[ModelConfig | DataConfig | TrainConfig]) -> dict[str, Option]:
    documentation = inspect.getdoc(cls) or ""
    group = documentation.partition("\n")[0].removesuffix(".")
    help_texts = read_argument_help(documentation)
    return {
        field.name: Option(field.name, field.type, field.default, help_texts[field.name], group)
        for field in dataclasses.fields(cls)
    }


def read_argument_help(docstring: str) -> dict[str, str]:
    """Return the texts of a Google-style docstring's `Args:` section, by argument."""
    section = re.search(r"^Args:\n((?: .*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def defaults_of(options: Mapping[str, Option], *, preset: str) -> dict[str, Any]:
    """Return the default of each option under a preset."""
    changed = {str(name): values for name, values in PRESETS.items()}[preset]
    defaults = {name: option.default for name, option in options.items() if option.default is not REQUIRED}
    return {name: changed.get(name, default) for name, default in defaults.items()}


def read_text(hint: Any, text: str) -> Any:  # noqa: ANN401  (a type, and a value of it)
    """Parse a text as a value of a type; of a union null, or else its first member that accepts it.

    Raises:
        ValueError: it matches none.
    """
    words = {str(choice): choice for choice in get_args(hint)} if get_origin(hint) is Literal else WORDS.get(hint)
    if words is not None:
        text = text.lower() if hint is bool else text
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return words[text]
    if get_origin(hint) in (Union, types.UnionType):
        for member in sorted(get_args(hint), key=lambda member: member is not types.NoneType):
            with contextlib.suppress(ValueError):
                return read_text(member, text)
        raise ValueError(f"{text!r} is none of {hint}")
    if hint not in (int, float, str, Path):
        raise TypeError(f"no option can have the type {hint}")
    value = hint(text)
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{text!r} is no number")
    return value


def describe(hint: Any) -> str:  # noqa: ANN401  (a type)
    """Describe the accepted values of a type."""
    if get_origin(hint) is Literal:
        return ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(member) for member in get_args(hint)))
    return ACCEPTED.get(hint, "text")
