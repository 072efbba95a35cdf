"""What is installed is pinned with its hash, is not known to be harmful, and asks no network that nobody asked for."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.photos import write_class_folders, write_photo

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


FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
HOLED = {"name": "pillow", "version": "12.0", "vulns": [{"id": "CVE-2026-25990", "fix_versions": ["12.1.1"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0)"}


@pytest.mark.parametrize(
    ("report", "code", "line"),
    [
        ([FINE, FINE], 0, "2 packages were looked up, with 0 known holes"),
        ([FINE, HOLED], 1, "HOLE: pillow 12.0 has CVE-2026-25990; mended in 12.1.1"),
        ([FINE, UNKNOWN], 2, "NOT AUDITED: 1 of 2 packages (torch) were not found; nothing is known of them"),
        ([UNKNOWN] * 6, 2, "NOT AUDITED: 6 of 6 packages (torch, torch, torch, torch, torch, ...) were not found"),
        ([HOLED, UNKNOWN], 1, "HOLE: pillow 12.0"),
        ([], 2, "NOT AUDITED: 0 of 0 packages"),
        (None, 2, "NOT AUDITED: pip-audit failed: it gave no report"),
    ],
)
def test_an_audit_that_learned_nothing_is_not_taken_for_a_good_one(
    tmp_path: Path, report: list[dict[str, Any]] | None, code: int, line: str
) -> None:
    (tmp_path / "report.json").write_text("" if report is None else json.dumps({"dependencies": report, "fixes": []}))
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), str(tmp_path / "report.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "audit: " + line in done.stdout + done.stderr) == (code, True), done


# Connections to this very machine are allowed: a server is asked over one.
GUARD = """
import os, signal, socket, sys, threading, time
HERE = ("127.0.0.1", "::1", "localhost", None)

def guarded(name, real, address_of):
    def ask(*asked, **options):
        if address_of(asked) not in HERE:
            os.write(2, f"asked the network: {name}{asked[-2:]}".encode())
            os._exit(9)
        return real(*asked, **options)
    return ask

for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, guarded(name, getattr(socket.socket, name), lambda asked: asked[1][0]))
for name in ("getaddrinfo", "gethostbyname"):
    setattr(socket, name, guarded(name, getattr(socket, name), lambda asked: asked[0]))
"""
LEARN = """
import mge
run = mge.train(sys.argv[1], out=sys.argv[2], backbone="test_resnet", pretrained=False, size=64, experts=1,
                part_filters=0, epochs=1, batch_size=4, accelerator="cpu", workers=0)
mge.evaluate(run.folder)
mge.load(run.folder).predict(sys.argv[1] + "/apple/0.png")
"""
SERVE = """
from mge.cli import main
from tests.serving.running import post
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

def ask():
    for _ in range(300):
        time.sleep(0.1)
        try:
            print("answered", post(port, open(sys.argv[1], "rb").read())[0], flush=True)
            break
        except ConnectionRefusedError:
            continue
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=ask).start()
sys.exit(main(["serve", sys.argv[2], "--backend", "torch", "--port", str(port)]))
"""


def run_guarded(script: str, *arguments: Path) -> str:
    """What a program printed that may ask this machine only."""
    command = [sys.executable, "-c", GUARD + script, *map(str, arguments)]
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=plain)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_training_measuring_and_predicting_ask_no_network(tmp_path: Path) -> None:
    photos = write_class_folders(tmp_path / "photos", per_class=4)
    run_guarded(LEARN, photos, tmp_path / "run")


@pytest.mark.slow
def test_serving_asks_no_network(tmp_path: Path, tiny_model: Path) -> None:
    photo = write_photo(tmp_path / "photo.png", (200, 0, 0))
    assert "answered 200" in run_guarded(SERVE, photo, tiny_model)


def test_the_guard_against_the_network_works() -> None:
    for asked in ("socket.create_connection(('192.0.2.1', 80), 1)", "socket.getaddrinfo('example.org', 80)"):
        done = subprocess.run([sys.executable, "-c", f"{GUARD}\n{asked}"], capture_output=True, text=True, check=False)
        assert (done.returncode, "asked the network" in done.stderr) == (9, True)
