"""What each switch is worth: the demo's mixture with one thing changed at a time, on three seeds.

`python benchmarks/ablation.py` trains what benchmarks/results/ablation.json has not measured yet, two runs at a time on
one core each, and adds it there and to the table in the docs. It may be stopped and goes on where it was; remove
the JSON file to measure everything anew.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml
from trainings import RESULTS, spread, train_once, write_table

SEEDS = (0, 1, 2)
FIGURES = RESULTS / "ablation.json"
KEPT = ("mixture_top1", "experts_top1", "mean_top1", "oracle_top1")
RECIPE = Path(__file__).parent.parent / "recipes" / "demo.yaml"
COMMON: dict[str, Any] = {"baseline": "none"}

# The name of a variant → what it changes. The first is what the others are compared with.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "1 expert": {"experts": 1},
    "2 experts": {"experts": 2},
    "4 experts": {"experts": 4},
    "diversity none": {"diversity": "none"},
    "diversity authors": {"diversity": "authors"},
    "attention of the first classifier": {"attention": "first"},
    "zoom from the previous view": {"zoom_from": "previous"},
    "part gradient off": {"part_gradient": False},
    "gate of its own": {"gate": "own"},
    "progressive, same training cost": {"schedule": "progressive", "epochs": 9},
    "maps of one class": {"cam_target": "class"},
    "signed channel weights": {"positive_weights": False},
    "boxes around the outermost cells": {"box_method": "threshold"},
    "5 part filters": {"part_filters": 5},
}
# Further ones, trained when those above are done.
MORE: dict[str, dict[str, Any]] = {
    "attention of the paper": {
        "cam_target": "class", "positive_weights": False, "box_method": "threshold", "attention_threshold": 0.5,
        "measure_offset": False,
    },
    "attention threshold 0.2": {"attention_threshold": 0.2},
    "attention threshold 0.5": {"attention_threshold": 0.5},
    "authors' geometry, outermost cells": {"geometry": "authors", "box_method": "threshold"},
    "maps taken where they are drawn": {"measure_offset": False},
    "following the true class": {"train_cam_class": "label"},
    "detail 1": {"zoom_resolution": 1.0},
    "gate from the start, in full": {"gate_from": 0.0, "gate_lr": 0.003, "gate_temperature": "none"},
    "gate in full": {"gate_temperature": "none"},
    "mixing probabilities": {"mix": "probs"},
    "progressive, own first weights": {"schedule": "progressive", "epochs": 9, "expert_init": "pretrained"},
    "progressive, former experts go on learning": {"schedule": "progressive", "epochs": 6, "freeze_previous": False},
    "2 part filters": {"part_filters": 2},
    "part padding 1": {"part_padding": 1},
    "input scaled to 0.5 and 0.5": {"normalization": "half"},
    "weight decay 0.0001": {"weight_decay": 1e-4},
    "step decay": {"decay": "step", "decay_epochs": 4},
}  # fmt: skip


def main() -> None:
    """Trains what is missing, seed by seed, and writes the table after each run."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    data = recipe.pop("data")
    found = measured()
    every = [(seed, name) for group in (VARIANTS, MORE) for seed in SEEDS for name in group]
    jobs = [(seed, name) for seed, name in every if seed not in found[name]]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(max_workers=os.cpu_count(), max_tasks_per_child=1) as pool:
        waiting = {}
        for seed, name in jobs:
            options = {**recipe, **COMMON, **changes(name), "seed": seed}
            waiting[pool.submit(train_once, f"ablation/{name}, seed {seed}", data, options)] = (seed, name)
        for done in as_completed(waiting):
            seed, name = waiting[done]
            found[name][seed] = done.result()
            write(found)


def measured() -> dict[str, dict[int, dict[str, Any]]]:
    """The figures that there are, by variant and seed."""
    stored = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    variants = stored["variants"] if stored.get("common") == COMMON else {}
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in {**VARIANTS, **MORE}}
    for name in found.keys() & variants.keys():
        for place, seed in enumerate(variants[name]["seeds"]):
            found[name][seed] = {key: variants[name][key][place] for key in KEPT}
    return found


def changes(name: str) -> dict[str, Any]:
    """What a variant changes."""
    return {**VARIANTS, **MORE}[name]


def write(found: dict[str, dict[int, dict[str, Any]]]) -> None:
    """Writes the figures so far as JSON, and as a table into the docs."""
    figures = {
        name: {"changes": changes(name), "seeds": sorted(runs)}
        | {key: [runs[seed][key] for seed in sorted(runs)] for key in KEPT}
        for name, runs in found.items()
    }
    head = {"command": "python benchmarks/ablation.py", "recipe": "recipes/demo.yaml", "common": COMMON}
    text = json.dumps({**head, "variants": figures}, indent=1) + "\n"
    FIGURES.write_text(text, encoding="utf-8")
    rows = [["variant", "seeds", "mixture", "minus the default's", "experts", "plain mean", "oracle"]]
    for name, row in figures.items():
        if row["seeds"]:
            experts = " / ".join(spread(column) for column in zip(*row["experts_top1"], strict=True))
            parts = [spread(row[key]) for key in ("mixture_top1", "mean_top1", "oracle_top1")]
            rows.append(
                [
                    name,
                    str(len(row["seeds"])),
                    f"**{parts[0]}**",
                    _beside(runs=found[name], default=found["default"]),
                    experts,
                    *parts[1:],
                ]
            )
    write_table("ablation", rows)


def _beside(runs: dict[int, dict[str, Any]], default: dict[int, dict[str, Any]]) -> str:
    """How far a variant is from the default, seed by seed: mean and standard deviation of the differences."""
    both = sorted(runs.keys() & default.keys())
    return spread(runs[seed]["mixture_top1"] - default[seed]["mixture_top1"] for seed in both) if both else ""


if __name__ == "__main__":
    main()
