"""A model goes to the Hub and comes back as it was; the Hub is a stand-in on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mge
from mge.storage.hub import is_hub, read_name
from tests.hub_server import Hub, run_hub
from tests.photos import write_photo


def run_script(script: str, hub: Hub | str, home: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python where the Hub is the stand-in: huggingface_hub reads its settings when it is imported."""
    address = hub if isinstance(hub, str) else hub.address
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": "hf_token", "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **settings, "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_model_is_pushed_in_one_commit_and_loaded_from_there(tiny_model: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photo.png", (40, 180, 60))
    script = (
        "import json, mge\nfrom mge.cli import main\n"
        f"assert main(['push', {str(tiny_model)!r}, 'hf:someone/colours', '--private']) == 0\n"
        f"loaded = mge.load('hf:someone/colours', fast=False)\n"
        f"print(json.dumps(loaded.predict({str(photo)!r}).probabilities))\n"
        f"assert main(['predict', 'hf:someone/colours', {str(photo)!r}, '--no-fast']) == 0\n"
    )
    with run_hub() as hub:
        done = run_script(script, hub, tmp_path / "home")
        assert done.returncode == 0, done.stderr
        files = hub.repositories["someone/colours"]
    assert sorted(files) == ["README.md", "model.json", "model.safetensors"]
    assert all(files[file.name] == file.read_bytes() for file in tiny_model.iterdir())
    assert hub.num_commits == 1
    assert [options["visibility"] for options in hub.created] == ["private"]
    pushed, following, probabilities, line = done.stdout.splitlines()
    assert pushed == f"Pushed: {hub.address}/someone/colours"
    assert following == "Next: mge predict hf:someone/colours photo.jpg"
    expected = mge.load(tiny_model, fast=False).predict(photo)
    assert json.loads(probabilities) == pytest.approx(expected.probabilities, abs=1e-6)
    assert line.startswith(f"{photo}: {expected.label}")


@pytest.mark.slow
def test_what_the_hub_refuses_is_said_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    script = (
        "from mge.cli import main\n"
        f"assert main(['push', {str(tiny_model)!r}, 'hf:someone/colours']) == 2\n"
        "assert main(['predict', 'hf:someone/nothing', 'photo.jpg']) == 2\n"
    )
    with run_hub(accepts_writing=False) as hub:
        done = run_script(script, hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("mge: error: ")]
    assert len(errors) == 2
    assert "'hf:someone/colours' could not be uploaded: " in errors[0]
    assert "log in with a write token: hf auth login" in errors[0]


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_said_to_be_so(tiny_model: Path, tmp_path: Path) -> None:
    script = (
        "import mge\n"
        "for ask in (lambda: mge.load('hf:someone/colours'), "
        f"lambda: mge.push({str(tiny_model)!r}, 'hf:someone/colours')):\n"
        "    try:\n        ask()\n"
        "    except mge.MgeError as error:\n        print(type(error).__name__, error)\n"
    )
    done = run_script(script, "http://127.0.0.1:9", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("ModelFolderError 'hf:someone/colours' could not be downloaded: ")
    assert second.startswith("ConfigError 'hf:someone/colours' could not be uploaded: ")


def test_names_are_read_with_their_revision() -> None:
    assert read_name("hf:owner/na.me-1") == ("owner/na.me-1", None)
    assert read_name("hf:owner/name@v1.2") == ("owner/name", "v1.2")
    assert is_hub("hf:owner/name")
    assert not is_hub(Path("hf/owner"))


@pytest.mark.parametrize("name", ["owner/name", "hf:name", "hf:owner/name/more", "hf:../..@", "hf:owner/na me"])
def test_what_is_no_name_is_refused(tiny_model: Path, name: str) -> None:
    with pytest.raises(mge.ConfigError, match="accepted: hf:owner/name"):
        mge.push(tiny_model, name)


def test_a_damaged_model_is_not_passed_on(tmp_path: Path, tiny_model: Path) -> None:
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.json").write_bytes((tmp_path / "model.json").read_bytes() + b" ")
    with pytest.raises(mge.ModelFolderError, match="damaged"):
        mge.push(tmp_path, "hf:someone/colours")
    with pytest.raises(mge.ConfigError, match="already on the Hub"):
        mge.push("hf:a/b", "hf:someone/colours")
