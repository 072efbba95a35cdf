"""The one checksum of what is stored: SHA-256, noted beside a file or in it. Imports no torch.

What notes its own checksum is JSON with the field `"checksum"`, alone (model.json) or within a file (.onnx).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from mge.errors import ModelFolderError

NO_CHECKSUM = "0" * 64  # stands in a content for its own checksum while that is computed
FIELD = b'"checksum": "'


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(content: bytes) -> bytes:
    """Return a content with its checksum in the place of `NO_CHECKSUM`."""
    place = FIELD + NO_CHECKSUM.encode()
    assert place in content, "the content has no place for its checksum"
    return content.replace(place, FIELD + checksum(content).encode(), 1)


def unseal(content: bytes, *, text: bytes, file: Path, newest: int, remedy: str) -> dict[str, Any]:
    """Return the JSON of a content that is what it was when it was sealed.

    Args:
        content: What was sealed.
        text: The JSON in it.
        file: Where it was read from.
        newest: The newest format version that can be read.
        remedy: The advice where it was changed.

    Raises:
        ModelFolderError: it is damaged, changed, or from a newer version of MGE.
        KeyError, TypeError, ValueError: it is no JSON of ours.
    """
    values: dict[str, Any] = json.loads(text)
    version = values["format_version"]
    if isinstance(version, int) and version > newest:
        raise ModelFolderError(
            f"{file} has format version {version}; this version of MGE reads up to {newest}; install a newer mge"
        )
    if values.pop("checksum") != checksum(content) or version not in range(1, newest + 1):
        raise ModelFolderError(f"{file} is damaged or was modified: its checksum does not match; {remedy}")
    return values


def checksum(content: bytes) -> str:
    """Return the checksum that a content must note: its SHA-256 with `NO_CHECKSUM` in the place of what it notes."""
    start, view = content.find(FIELD) + len(FIELD), memoryview(content)  # exports are large: no copies
    digest = hashlib.sha256(view[:start])
    digest.update(NO_CHECKSUM.encode())
    digest.update(view[start + len(NO_CHECKSUM) :])
    return digest.hexdigest()
