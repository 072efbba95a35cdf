"""What is installed is pinned with its hash, is not known to be harmful, and asks no network that nobody asked for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.photos import write_class_folders

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [
    line for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines if not line.startswith("mge[")
]
# Below these lie known holes: torch.load's CVE-2026-24747, Pillow's of 2026, Lightning's _instantiator (2.6.2 and 2.6.3
# were malicious), reading safetensors without bounds.
FLOORS = {"torch": (2, 10), "pillow": (12, 3), "lightning-fabric": (2, 6, 6), "safetensors": (0, 5)}


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each pinned package."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(
        r"^([a-z0-9-]+)==(\S+)[^\\\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    assert len(pins) == len(re.findall(r"^[^\s#]", text, re.MULTILINE))
    return {name: (version, re.findall("[0-9a-f]{64}", hashes)) for name, version, hashes in pins}


@pytest.mark.parametrize("wanted", WANTED)
def test_the_lock_file_pins_what_the_project_wants(wanted: str, locked: dict[str, tuple[str, list[str]]]) -> None:
    name = re.match(r"[\w-]+", wanted)
    assert name is not None
    version, hashes = locked[name[0].lower()]
    assert hashes
    for sign, bound in re.findall(r"(>=|<)([\d.]+)", wanted):
        assert (version_of(version) >= version_of(bound)) is (sign == ">=")


@pytest.mark.parametrize("name", FLOORS)
def test_versions_with_known_holes_are_neither_allowed_nor_pinned(
    name: str, locked: dict[str, tuple[str, list[str]]]
) -> None:
    (floor,) = [line.partition(">=")[2] for line in PROJECT["dependencies"] if line.startswith(f"{name}>=")]
    assert version_of(floor) >= FLOORS[name]
    assert version_of(locked[name][0]) >= FLOORS[name]


GUARD = """
import socket, sys
def refuse(*asked, **_):
    raise SystemExit(f"asked the network: {asked}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import mge
run = mge.train(sys.argv[1], out=sys.argv[2], backbone="test_resnet", pretrained=False, size=64, experts=1,
                part_filters=0, epochs=1, batch_size=4, accelerator="cpu", workers=0)
mge.evaluate(run.folder)
mge.load(run.folder).predict(sys.argv[1] + "/apple/0.png")
"""


@pytest.mark.slow
def test_training_measuring_and_predicting_ask_no_network(tmp_path: Path) -> None:
    photos = write_class_folders(tmp_path / "photos", per_class=4)
    command = [sys.executable, "-c", GUARD, str(photos), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
