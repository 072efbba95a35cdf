"""Names of the version before, and their names now: the only place that lists them. They work for one release more.

Stored models, runs and exports are translated without a word; what a person types or writes, with a warning.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from mge.errors import ConfigError

COMMANDS = {"localise": "localize"}  # also the functions of `mge`
# Option → its name now, and those of its values that are called otherwise now.
OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "attention_to": ("cam_target", {"belief": "softmax"}),
    "box": ("box_method", {"extent": "threshold", "spread": "moments"}),
    "detail": ("zoom_resolution", {}),
    "follow": ("train_cam_class", {"true": "label"}),
    "freeze_former": ("freeze_previous", {}),
    "gate_trust": ("gate_temperature", {"chosen": "fitted", "full": "none"}),
    "normalisation": ("normalization", {}),
    "start": ("expert_init", {"former": "previous", "weights": "pretrained"}),
}
# Of stored options only: what a person types by such a name could mean two of today's.
STORED = {"patience": "process_timeout"}


def describe_rename(previous: str, now: str) -> str:
    """Return the warning about a previous name."""
    return f"{previous} is called {now}; the previous name is removed after this release"


def rename_option(name: str, value: Any) -> tuple[str, Any]:  # noqa: ANN401  (whatever the option can be)
    """Return an option by its name of now, with its value."""
    now, values = OPTIONS.get(name, (name, {}))
    return now, values.get(value, value) if isinstance(value, str) else value


def rename_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored options by their names of now."""
    return dict(rename_option(STORED.get(name, name), value) for name, value in options.items())


def rename_keywords(options: Mapping[str, Any], *, stacklevel: int) -> dict[str, Any]:
    """Return the keyword arguments of a call by their names of now, and warn about previous ones.

    Raises:
        ConfigError: an option is given by both names.
    """
    renamed: dict[str, Any] = {}
    for name, value in options.items():
        now, renamed_value = rename_option(name, value)
        if now != name:
            if now in options:
                raise ConfigError(f"{now} is given twice, also by its previous name {name}; keep one of them")
            message = describe_rename(f"{name}={value!r}", f"{now}={renamed_value!r}")
            warnings.warn(message, FutureWarning, stacklevel + 1)
        renamed[now] = renamed_value
    return renamed


def previous_method(previous: str, *, now: str) -> Callable[..., Any]:
    """Return a method that warns about its previous name, and calls the method of its name now."""

    def method(self: object, *args: Any, **options: Any) -> Any:  # noqa: ANN401  (whatever the method takes)
        warnings.warn(describe_rename(previous, now), FutureWarning, 2)
        return getattr(self, now)(*args, **options)

    return method
