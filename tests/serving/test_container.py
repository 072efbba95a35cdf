"""What the recipe of the container installs is enough to serve an exported mixture."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mge.inference.onnx_classifier import OnnxClassifier
from tests.photos import write_scene
from tests.serving.running import post

ROOT = Path(__file__).parents[2]

# Serves as `mge serve` does where only some distributions are installed.
SERVER = """
import sys, importlib.metadata
allowed = set(sys.argv[1].split(","))
owners = importlib.metadata.packages_distributions()

class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in owners and not allowed & {owner.lower().replace("_", "-") for owner in owners[top]}:
            raise ModuleNotFoundError(f"{top} is not in the container", name=top)

sys.meta_path.insert(0, Missing())
from mge.cli import main
sys.exit(main(["serve", sys.argv[2], "--port", "0"]))
"""


def installed_by(names: list[str]) -> set[str]:
    """Distributions and all that they need."""
    found: set[str] = set()
    while names:
        name = re.split(r"[^\w.-]", names.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        names += [text for text in needed if "extra ==" not in text]
    return found


@pytest.mark.compiled
def test_an_exported_mixture_is_served_with_what_the_container_has(tiny_onnx: Path, tmp_path: Path) -> None:
    recipe = (ROOT / "Containerfile").read_text(encoding="utf-8")
    line = re.search(r"RUN pip install --no-cache-dir \\\n(.+)\n", recipe)
    assert line is not None
    allowed = installed_by(line[1].split())
    assert "torch" not in allowed
    command = [sys.executable, "-c", SERVER, ",".join([*allowed, "mge"]), str(tiny_onnx)]
    photo = write_scene(tmp_path / "scene.png", seed=3).read_bytes()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            place = re.fullmatch(r"Serving .*model.onnx \(3 classes, onnx\) at http://127.0.0.1:(\d+)/; .*\n", said)
            assert place is not None, said + process.stderr.read()
            status, answer, _ = post(int(place[1]), photo)
            explained = post(int(place[1]), photo, path="/explain")
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
    expected = OnnxClassifier.load(tiny_onnx).predict(photo)
    (prediction,) = answer["predictions"]
    assert (status, explained[0], len(explained[1]["experts"])) == (200, 200, 2)
    assert prediction["label"] == expected.label
    assert [entry["probability"] for entry in prediction["top"]] == pytest.approx(
        [share for _, share in expected.top(5)], abs=1e-5
    )
    assert prediction["boxes_xyxy"] == [pytest.approx(box, abs=1e-3) for box in expected.boxes_xyxy]
