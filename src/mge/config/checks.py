"""What every class of options has in common: it checks itself, and says what it accepts."""

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from typing import Any, Literal, Self, get_args, get_origin

from mge.errors import ConfigError

# What to do in place of a choice that others have and this is without, by the option's name.
INSTEAD = {
    "strategy": "; weights are not split over GPUs: where they do not fit on one, use schedule=progressive, "
    "gate=shared or precision=bfloat16, and where the photos do not, a smaller batch_size with accumulate",
}


class Options:
    """Validation shared by the option classes: literals, bounds, unknown names."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check_type(field, getattr(self, field.name))
        self._check()

    def _check(self) -> None:
        """Checks what no type can say."""

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """The options of a mapping, the defaults for the rest.

        Raises:
            ConfigError: a name is unknown, or a value is not accepted.
        """
        check_names(options, known=[field.name for field in dataclasses.fields(cls)])  # type: ignore[arg-type]
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON-able values, those of NumPy, which YAML does not know, as Python's own."""
        options = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401  (whatever an option can be)
    """A value as Python's own type: `np.float64` is a kind of float, and `np.str_` one of str."""
    kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return value if kind is None else kind(value)


def check_names(options: Mapping[str, Any], *, known: list[str]) -> None:
    """Raises ConfigError at the first unknown name, and suggests the nearest known one."""
    for name in options:
        if name not in known:
            hint = suggest(name, known) or "known options: " + ", ".join(known)
            raise ConfigError(f"unknown option {name!r}; {hint}")


def suggest(name: str, known: Collection[str]) -> str:
    """`did you mean 'experts'?`: the nearest name, or those that share a whole word; nothing where there is none."""
    near = difflib.get_close_matches(name, known, n=1) or [
        each for each in known if name in each.split("_") or each in name.split("_")
    ]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raises ConfigError unless the value is one of the choices."""
    if value not in choices:
        accepted = ", ".join(str(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}; accepted: {accepted}{INSTEAD.get(name, '')}")


def check_range(name: str, value: float, *, at_least: float, at_most: float | None = None) -> None:
    """Raises ConfigError unless the value is a number inside the bounds."""
    bounds = f"at least {at_least:g}" + ("" if at_most is None else f" and at most {at_most:g}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} is {value!r}; accepted: a number, {bounds}")
    if not (at_least <= value and (at_most is None or value <= at_most)):
        raise ConfigError(f"{name} is {value}; accepted: {bounds}")


def check_whole_or_auto(name: str, value: object, *, at_least: int, at_most: int | None = None) -> None:
    """Raises ConfigError unless the value is `auto`, or a whole number inside the bounds."""
    if value != "auto":
        check_whole(name, value, at_least=at_least, at_most=at_most, other=", or auto")


def check_whole(name: str, value: object, *, at_least: int, at_most: int | None = None, other: str = "") -> None:
    """Raises ConfigError unless the value is a whole number inside the bounds; `other` says what else is accepted."""
    if type(value) is not int:
        raise ConfigError(f"{name} is {value!r}; accepted: a whole number, at least {at_least}{other}")
    check_range(name, value, at_least=at_least, at_most=at_most)


def check_ranges(options: object, *names: str, at_least: float, at_most: float | None = None) -> None:
    """Raises ConfigError unless all these fields are numbers inside the bounds."""
    for name in names:
        check_range(name, getattr(options, name), at_least=at_least, at_most=at_most)


def _check_type(field: "dataclasses.Field[Any]", value: object) -> None:
    is_left_out = value is None and field.type == str | None
    if get_origin(field.type) is Literal:
        check_choice(field.name, value, get_args(field.type))
    elif field.type is bool and not isinstance(value, bool):
        raise ConfigError(f"{field.name} is {value!r}; accepted: true, false")
    elif field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise ConfigError(f"{field.name} is {value!r}; accepted: a whole number")
    elif field.type in (str, str | None) and not (isinstance(value, str) or is_left_out):
        raise ConfigError(f"{field.name} is {value!r}; accepted: text, such as {str(value)!r}")
