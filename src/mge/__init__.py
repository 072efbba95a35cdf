"""Fine-grained image classification with a mixture of granularity-specific experts.

The public names are resolved lazily, so that `import mge` is fast and imports no torch.
"""

import importlib
import warnings
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "ConfigError",
    "DataError",
    "DivergedError",
    "ExportError",
    "Findings",
    "InUseError",
    "Interrupted",
    "LostProcessError",
    "MGEClassifier",
    "MgeError",
    "MissingExtraError",
    "MixtureOfExperts",
    "MixtureOutput",
    "ModelFolderError",
    "OutOfMemoryError",
    "Prediction",
    "Run",
    "StorageError",
    "bench",
    "check",
    "compare",
    "config",
    "convert",
    "create_model",
    "distill",
    "embed",
    "evaluate",
    "explain",
    "export",
    "info",
    "load",
    "localize",
    "models",
    "predict",
    "push",
    "serve",
    "train",
]

# `mge.list` is there too, but not in `__all__`: `from mge import *` must not hide Python's own.
# The verbs of the command line in the order in which one meets them: `mge.tasks.VERB.VERB` each.
VERBS = (
    "check", "train", "evaluate", "predict", "export", "serve", "push", "explain", "localize", "compare", "convert",
    "bench", "distill", "embed", "info", "list",
)  # fmt: skip

# Public name → its module.
_HOMES = {
    "Classifier": "mge.inference.classifier",
    "Findings": "mge.data.check.findings",
    "MGEClassifier": "mge.estimator.mge_classifier",
    "MixtureOfExperts": "mge.models.mixture",
    "MixtureOutput": "mge.core.outputs",
    "Prediction": "mge.inference.prediction",
    "Run": "mge.storage.run_folder",
    "create_model": "mge.models.mixture",
    "load": "mge.inference.load",
    **{verb: f"mge.tasks.{verb}" for verb in VERBS},
    **{name: "mge.errors" for name in __all__ if name.endswith("Error") or name == "Interrupted"},
}

if TYPE_CHECKING:
    from mge import config, models
    from mge.core.outputs import MixtureOutput
    from mge.data.check.findings import Findings
    from mge.errors import (
        ConfigError,
        DataError,
        DivergedError,
        ExportError,
        Interrupted,
        InUseError,
        LostProcessError,
        MgeError,
        MissingExtraError,
        ModelFolderError,
        OutOfMemoryError,
        StorageError,
    )
    from mge.estimator.mge_classifier import MGEClassifier
    from mge.inference.classifier import Classifier
    from mge.inference.load import load
    from mge.inference.prediction import Prediction
    from mge.models.mixture import MixtureOfExperts, create_model
    from mge.storage.run_folder import Run
    from mge.tasks.bench import bench
    from mge.tasks.check import check
    from mge.tasks.compare import compare
    from mge.tasks.convert import convert
    from mge.tasks.distill import distill
    from mge.tasks.embed import embed
    from mge.tasks.evaluate import evaluate
    from mge.tasks.explain import explain
    from mge.tasks.export import export
    from mge.tasks.info import info
    from mge.tasks.localize import localize
    from mge.tasks.predict import predict
    from mge.tasks.push import push
    from mge.tasks.serve import serve
    from mge.tasks.train import train


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name == "models":
        importlib.import_module("mge.models.authors")
        return importlib.import_module("mge.models")
    if name == "config":  # named in the help of `train`
        return importlib.import_module("mge.config")
    if name not in _HOMES:
        from mge.config.previous_names import COMMANDS, describe_rename  # noqa: PLC0415  (for unknown names only)

        if name not in COMMANDS:
            raise AttributeError(f"module 'mge' has no attribute {name!r}")
        warnings.warn(describe_rename(f"mge.{name}", f"mge.{COMMANDS[name]}"), FutureWarning, 2)
        name = COMMANDS[name]
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
