"""The checksum of a file, beside it and in it."""

import hashlib
import json
from pathlib import Path

import pytest

from mge.storage.checksum import NO_CHECKSUM, checksum, seal, sha256


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("before", [b"", b"\x00a graph" * 9])
def test_a_sealed_content_is_found_changed_wherever_a_byte_is_another(before: bytes) -> None:
    text = json.dumps({"format_version": 3, "checksum": NO_CHECKSUM, "class_names": [NO_CHECKSUM, '"checksum": "x']})
    content = before + text.encode()
    sealed = seal(content)
    assert sealed == content.replace(NO_CHECKSUM.encode(), hashlib.sha256(content).hexdigest().encode(), 1)
    assert checksum(sealed) == checksum(content) == hashlib.sha256(content).hexdigest()
    start = sealed.index(checksum(sealed).encode())
    for place in {*range(len(sealed))} - {*range(start, start + 64)}:
        assert checksum(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]) != checksum(sealed)


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 200, b'{"checksum": 7}', b'{"checksum": "'])
def test_a_content_without_a_place_for_its_checksum_is_not_sealed(content: bytes) -> None:
    assert len(checksum(content)) == 64
    with pytest.raises(AssertionError, match="has no place for its checksum"):
        seal(content)
