"""Where experts look, and what a cascade of them saves, with maps fine enough to box a beetle, on three seeds.

`python benchmarks/localise.py` trains the demo's recipe with larger views and two experts (what is trained already is
not trained again), measures localisation and the cascade on the test photos, and writes
benchmarks/results/localise.json and tables in the docs.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from trainings import RESULTS, RUNS, spread, train_once, write_table

import mge
from mge.report.box_files import HEADS

SEEDS = (0, 1, 2)
RECIPE = Path(__file__).parent.parent / "recipes" / "demo.yaml"
CHANGES = {"size": 128, "zoom_resolution": 2, "experts": 2, "epochs": 20, "baseline": "none"}
ALLOWED = (0.4, 0.2)  # points of accuracy that the cascade may lose; the last is what stays with the run
CASCADE = {
    "mixture_top1": "mixture %", "top1": "cascade %", "lost_top1": "points lost", "saved_percent": "work saved %",
}  # fmt: skip


def main() -> None:
    """Trains what is missing and measures all seeds."""
    options = {**yaml.safe_load(RECIPE.read_text(encoding="utf-8")), **CHANGES}
    data = options.pop("data")
    found: dict[int, dict[str, Any]] = {}
    for seed in SEEDS:
        name = f"localise-seed{seed}"
        train_once(name, data, {**options, "seed": seed})
        found[seed] = measure(RUNS / name)
    head = {"command": "python benchmarks/localise.py", "recipe": "recipes/demo.yaml", "changes": CHANGES}
    text = json.dumps({**head, "seeds": found}, indent=1) + "\n"
    (RESULTS / "localise.json").write_text(text, encoding="utf-8")
    write_table("localise", localization_rows(list(found.values())))
    write_table("localise cascade", cascade_rows(found))


def measure(run: Path) -> dict[str, Any]:
    """One run's localisation and cascade, on its test photos; the cascade's thresholds are stored with its model."""
    with tempfile.TemporaryDirectory() as folder:
        localisation = mge.localize(run, output=folder)
        file = Path(folder) / "evaluation.json"
        cascades = {}
        for allowed in ALLOWED:
            found = mge.evaluate(run, out=file, report=False, cascade=True, max_accuracy_loss=allowed)
            cascades[allowed] = {key: {**found, **found["cascade"]}[key] for key in CASCADE}
    return {"experts": localisation["experts"], "whole": localisation["whole"], "cascades": cascades}


def localization_rows(seeds: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each expert and one for what needs no network, over all seeds."""
    rows = [["attention of", *HEADS.values()]]
    for number in range(len(seeds[0]["experts"])):
        measured = [seed["experts"][number] for seed in seeds]
        rows.append([f"expert {number}", *(spread(each[key] for each in measured) for key in HEADS)])
    whole = seeds[0]["whole"]
    rows.append(["all of the photo, its centre", *(f"{whole[key]:.1f}" if key in whole else "" for key in HEADS)])
    return rows


def cascade_rows(seeds: dict[int, dict[str, Any]]) -> list[list[str]]:
    """A row for each allowed loss and seed."""
    return [["allowed", "seed", *CASCADE.values()]] + [
        [str(allowed), str(seed), *(f"{found['cascades'][allowed][key]:.1f}" for key in CASCADE)]
        for allowed in sorted(ALLOWED)
        for seed, found in seeds.items()
    ]


if __name__ == "__main__":
    main()
