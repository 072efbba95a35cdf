"""Networks: backbone, expert, gate, mixture, and the authors' checkpoints."""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Import `mge.models.authors` when it is first asked for, also where another network was imported before."""
    if name == "authors":
        return importlib.import_module("mge.models.authors")
    raise AttributeError(f"module 'mge.models' has no attribute {name!r}")
