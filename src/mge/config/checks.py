"""Validation shared by the option classes, with errors that list the accepted values."""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from typing import Any, Literal, Self, get_args, get_origin

from mge.config.previous_names import rename_keywords
from mge.config.words import translate
from mge.errors import ConfigError

# What to do in place of a choice that others have and this is without, by the option's name.
INSTEAD = {
    "strategy": "; weights are not sharded over GPUs: if they do not fit on one, use schedule=progressive, "
    "gate=shared or precision=bfloat16; if the activations do not, a smaller batch_size with accumulate",
}

SECONDS = {"h": 3600, "m": 60, "s": 1}  # of each unit
NUMBER = r"\d+(?:\.\d+)?"
DURATION = re.compile(rf"(?:(?P<h>{NUMBER})\s*h)?\s*(?:(?P<m>{NUMBER})\s*m(?:in)?)?\s*(?:(?P<s>{NUMBER})\s*s)?")
LONGEST_SHOWN = 100  # letters of a value that an error repeats


class _PreviousNames(type):
    """The type of option classes, which take their options by the previous names, too, with a warning."""

    def __call__(cls, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (an object of the class)
        return super().__call__(*args, **rename_keywords(options, stacklevel=2))


class Options(metaclass=_PreviousNames):
    """Validation shared by the option classes: literals, bounds, unknown names."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, as_plain(getattr(self, field.name)))  # it is frozen
            _check_type(field, getattr(self, field.name))
        self._check()

    def _check(self) -> None:
        """Check constraints that types cannot express."""

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Build the options from a mapping, with defaults for the rest.

        Raises:
            ConfigError: a name is unknown, or a value is not accepted.
        """
        options = rename_keywords(options, stacklevel=2)
        check_names(options, known=[field.name for field in dataclasses.fields(cls)])  # type: ignore[arg-type]
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain JSON-able values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]


def as_plain(value: Any) -> Any:  # noqa: ANN401  (whatever an option can be)
    """Return a value as Python's own type, which JSON and YAML know.

    It may be a number or text of NumPy or pandas, a tensor of one number, a fraction, or a path.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    kinds: tuple[tuple[type, type], ...] = ((bool, bool), (Integral, int), (Real, float), (str, str))
    kind = next((own for kind, own in kinds if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


def shown(value: object) -> str:
    """Return a value as an error shows it: in a few words, however much it would say of itself."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN and "\n" not in text else f"a {type(value).__name__}"


def check_names(options: Mapping[str, Any], *, known: list[str]) -> None:
    """Raise ConfigError at the first unknown name, and suggest the nearest known one."""
    for name in options:
        if name not in known:
            hint = suggest(name, known) or "known options: " + ", ".join(known)
            raise ConfigError(f"unknown option {name!r}; {hint}")


def suggest(name: str, known: Collection[str]) -> str:
    """Return `did you mean 'experts'?`: what another tool's word means, or the nearest name; empty where there is none.

    Near are names that are spelt alike, or else those that share a whole word.
    """
    if said := translate(name, known):
        return said
    near = difflib.get_close_matches(name, known, n=1) or [
        each for each in known if name in each.split("_") or each in name.split("_")
    ]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ConfigError unless the value is one of the choices."""
    if not isinstance(value, str | int | float | None) or value not in choices:  # an array has no one answer to `in`
        accepted = ", ".join(str(choice) for choice in choices)
        raise ConfigError(f"{name} is {shown(value)}; accepted: {accepted}{INSTEAD.get(name, '')}")


def check_range(name: str, value: Any, *, at_least: float, at_most: float | None = None) -> float:  # noqa: ANN401
    """Return the value as a plain number; raise ConfigError unless it is one inside the bounds."""
    bounds = f"at least {at_least:g}" + ("" if at_most is None else f" and at most {at_most:g}")
    number = as_plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ConfigError(f"{name} is {shown(number)}; accepted: a number, {bounds}")
    if not (at_least <= number and (at_most is None or number <= at_most)):
        raise ConfigError(f"{name} is {number}; accepted: {bounds}")
    return number


def check_whole_or_auto(name: str, value: object, *, at_least: int, at_most: int | None = None) -> None:
    """Raise ConfigError unless the value is `auto`, or a whole number inside the bounds."""
    if value != "auto":
        check_whole(name, value, at_least=at_least, at_most=at_most, other=", or auto")


def check_whole(name: str, value: object, *, at_least: int, at_most: int | None = None, other: str = "") -> int:
    """Return the value as a plain whole number; raise ConfigError unless it is one inside the bounds.

    Args:
        name: Of the option.
        value: What is given.
        at_least: The lowest that is accepted.
        at_most: The highest that is accepted; None: any.
        other: What else is accepted, for the error.
    """
    number = as_plain(value)
    if type(number) is not int:
        raise ConfigError(f"{name} is {shown(number)}; accepted: a whole number, at least {at_least}{other}")
    check_range(name, number, at_least=at_least, at_most=at_most)
    return number


def check_ranges(options: object, *names: str, at_least: float, at_most: float | None = None) -> None:
    """Raise ConfigError unless all these fields are numbers inside the bounds."""
    for name in names:
        check_range(name, getattr(options, name), at_least=at_least, at_most=at_most)


def read_duration(name: str, value: object) -> float:
    """Return the seconds of a duration: `2h`, `30m`, `1h30m`, `90s`, or a number of seconds.

    Raises:
        ConfigError: it is none, or not above 0.
    """
    text = "" if isinstance(value, bool) else str(value).strip().lower()
    text += "s" if re.fullmatch(NUMBER, text) else ""
    found = DURATION.fullmatch(text)
    seconds = sum(float(found[unit] or 0) * SECONDS[unit] for unit in SECONDS) if found else 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f"{name} is {shown(value)}; accepted: hours, minutes and seconds such as 2h, 30m, 1h30m or 90s, or a "
            "number of seconds"
        )
    return seconds


def _check_type(field: "dataclasses.Field[Any]", value: object) -> None:
    is_left_out = value is None and field.type == str | None
    if get_origin(field.type) is Literal:
        check_choice(field.name, value, get_args(field.type))
    elif field.type is bool and not isinstance(value, bool):
        raise ConfigError(f"{field.name} is {shown(value)}; accepted: true, false")
    elif field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"{field.name} is {shown(value)}; accepted: a whole number")
    elif field.type in (str, str | None) and not (isinstance(value, str) or is_left_out):
        example = "" if shown(value) != repr(value) else f", such as {str(value)!r}"
        raise ConfigError(f"{field.name} is {shown(value)}; accepted: text{example}")
