"""Cache of compiled graphs: each for one model, one machine and one version of every program.

A compiled graph is native code. It is read from the user's own cache folder only, never from a model folder.
"""

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from mge.config.cache_folder import cache_folder
from mge.storage.checksum import sha256
from mge.storage.environment import processor_lines
from mge.storage.files import remove_oldest, write_text_atomically

PACKAGE = Path(__file__).parents[1]
SOURCES = ("core", "models", "inference")  # the folders with the code of the graphs
KEPT = 8  # graphs; each contains its model's weights, and the oldest is removed first


def compiled_path(model_sha256: str, *, arithmetic: str, device: str, num_threads: int) -> Path:
    """Return the path of a model's compiled graph: in `$MGE_CACHE/compiled`, or `~/.cache/mge/compiled`.

    Args:
        model_sha256: SHA-256 of the model's model.json, which contains the checksum of its weights, and its size.
        arithmetic: Arithmetic of the backbones.
        device: Device, by torch's name.
        num_threads: The number of threads, which is compiled in.
    """
    parts = [
        model_sha256,
        *(sha256(file) for folder in SOURCES for file in sorted((PACKAGE / folder).glob("*.py"))),
        *(importlib.metadata.version(package) for package in ("torch", "timm")),
        platform.platform(), _processor(), arithmetic, device, str(num_threads),
    ]  # fmt: skip
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return cache_folder("compiled") / f"{key}.pt2"


def read_proof(graph: Path) -> dict[str, Any] | None:
    """Read the record of a compiled graph's comparison with its model; None if there is no readable one."""
    try:
        proof = json.loads(graph.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return proof if isinstance(proof, dict) else None


def write_proof(graph: Path, proof: dict[str, Any]) -> None:
    """Write the record of a compiled graph's comparison with its model.

    Raises:
        StorageError: it cannot be written.
    """
    write_text_atomically(graph.with_suffix(".json"), json.dumps(proof, indent=1) + "\n")


def remove_oldest_graphs(folder: Path) -> None:
    """Remove all but the newest compiled graphs, and the records of removed ones."""
    remove_oldest(folder.glob("*.pt2"), kept=KEPT)
    for proof in folder.glob("*.json"):
        if not proof.with_suffix(".pt2").exists():
            proof.unlink(missing_ok=True)


def _processor() -> str:
    """Return the processor's name and features: code compiled for one may not run on another."""
    described = set(processor_lines("model name", "flags", "Features"))
    return "\n".join(sorted(described)) or platform.processor()
