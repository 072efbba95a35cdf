"""Localisation and rejection on real photos: `python benchmarks/pretrained_trust.py [--seeds 0 1 2]`.

Reads the runs on logos that benchmarks/pretrained.py trained: the mixture's experts, and the plain network's own
Grad-CAM, on the true boxes of the test photos, by the area of the box; and how well the confidence of each tells photos
without any of the brands from the test photos (AUROC). Writes benchmarks/results/pretrained_trust.json and tables in
docs/results.md.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pretrained import SHARED, run_name
from trainings import RESULTS, RUNS, spread, write_table

import mge
from mge.storage.run_folder import Run

UNKNOWN = SHARED / "logos" / "unknown"
FIGURES = RESULTS / "pretrained_trust.json"
NETWORKS = {"plain network": "plain", "mixture": "."}
AREAS = {
    "below_5": "below 5 % of the photo", "5_to_25": "5 to 25 %", "above_25": "above 25 %", "all": "all",
}  # fmt: skip

Found = dict[str, dict[str, dict[str, Any]]]  # seed, network


def main() -> None:
    """Measure every finished run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    found: Found = json.loads(FIGURES.read_text(encoding="utf-8"))["seeds"] if FIGURES.exists() else {}
    for seed in parser.parse_args().seeds:
        run = RUNS / run_name("logos", seed)
        if "verdict" in Run(run).summary():
            found[str(seed)] = {name: measure(run / folder) for name, folder in NETWORKS.items()}
    head = {"command": "python benchmarks/pretrained_trust.py", "set": "logos"}
    FIGURES.write_text(json.dumps({**head, "seeds": found}, indent=1) + "\n", encoding="utf-8")
    write_table("pretrained localisation", localization_rows(list(found.values())))
    rows = [["network", "AUROC, test photos beside photos of no brand"]]
    rows += [[name, spread(100 * seed[name]["auroc"] for seed in found.values())] for name in NETWORKS]
    write_table("pretrained rejection", rows)


def measure(run: Path) -> dict[str, Any]:
    """Return one network's localisation and its AUROC."""
    with tempfile.TemporaryDirectory() as folder:
        boxes = mge.localize(run, output=folder)
        evaluation = mge.evaluate(run, unknown=UNKNOWN, out=Path(folder) / "evaluation.json", report=False)
    by_area = {**boxes["by_area"], "all": {"num_with_box": boxes["num_with_box"], "experts": boxes["experts"]}}
    return {"boxes": by_area, "auroc": evaluation["unknown"]["auroc"]}


def localization_rows(seeds: list[dict[str, dict[str, Any]]]) -> list[list[str]]:
    """Return a row for each network's expert: MaxBoxAcc and pointing game by the area of the box."""
    rows = [["attention of", *(f"{name}: MaxBoxAcc / pointing" for name in AREAS.values())]]
    for network in NETWORKS:
        for number in range(min((len(seed[network]["boxes"]["all"]["experts"]) for seed in seeds), default=0)):
            cells = []
            for area in AREAS:
                experts = [seed[network]["boxes"][area]["experts"][number] for seed in seeds]
                both = [spread(each[key] for each in experts) for key in ("max_box_acc", "pointing_game")]
                cells.append(" / ".join(both))
            rows.append([network if network == "plain network" else f"expert {number} of the mixture", *cells])
    return rows


if __name__ == "__main__":
    main()
