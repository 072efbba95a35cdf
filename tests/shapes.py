"""What jaxtyping's import hook checks while the tests run: every signature that says a shape."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the arguments and the result of a function against the shapes of its signature.

    Other hints are mypy's business. Checking them here would make a wrong option a TypeCheckError, where the tests want
    to see the ConfigError that a user gets.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if says_shape(hint)}
    checked: Callable[..., Any] = beartype(function)
    return checked


def says_shape(hint: Any) -> bool:  # noqa: ANN401  (any hint)
    """Whether a hint has a shape somewhere inside."""
    is_shape = isinstance(hint, type) and issubclass(hint, AbstractArray)
    return is_shape or any(says_shape(argument) for argument in get_args(hint))
