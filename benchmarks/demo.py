"""The demo on three seeds: `python benchmarks/demo.py` writes benchmarks/results/demo.json."""

import json
from pathlib import Path
from typing import Any

import yaml
from trainings import RESULTS, spread, train_once, write_table

SEEDS = (0, 1, 2)
RECIPE = Path(__file__).parent.parent / "recipes" / "demo.yaml"


def main() -> None:
    """Trains what is missing, then writes the figures of all seeds."""
    options = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data = options.pop("data")
    summaries = [train_once(f"demo-seed{seed}", data, {**options, "seed": seed}) for seed in SEEDS]
    figures: dict[str, Any] = {"command": "python benchmarks/demo.py", "recipe": "recipes/demo.yaml", "seeds": SEEDS}
    top1 = {key: [summary[key] for summary in summaries] for key in summaries[0] if key.endswith("_top1")}
    (RESULTS / "demo.json").write_text(json.dumps({**figures, "test_top1": top1}, indent=1) + "\n", encoding="utf-8")
    rows = [["model", "test accuracy in %, mean ± standard deviation of 3 seeds"]]
    for key, values in top1.items():
        name = key.removesuffix("_top1").replace("_", " ")
        columns = list(zip(*values, strict=True)) if isinstance(values[0], list) else [values]
        rows.append([name, " / ".join(spread(column) for column in columns)])
    write_table("demo", rows)


if __name__ == "__main__":
    main()
