"""Whether bfloat16 costs accuracy: `python benchmarks/precision.py [RUN ...]`, by default the demo's runs on all seeds.

Each run's mixture answers its test photos in float32, and with backbones and part filters of all but the first expert
in bfloat16 and channels last, as the fast path does. Runs are only read. Writes benchmarks/results/precision.json and a
table in docs/results.md.
"""

import copy
import dataclasses
import json
import sys
from pathlib import Path

import torch
from trainings import RESULTS, runs_given, spread, write_table

from mge.evaluation.evaluation import Evaluator
from mge.evaluation.select import select
from mge.inference.compiled import in_bfloat16


def main() -> None:
    """Measures the given runs, one after the other."""
    runs = runs_given()
    figures = {run.name: measure(run) for run in runs}
    command = " ".join(["python benchmarks/precision.py", *sys.argv[1:]])
    text = json.dumps({"command": command, "runs": figures}, indent=1) + "\n"
    (RESULTS / "precision.json").write_text(text, encoding="utf-8")
    rows = [["run", "float32 %", "bfloat16 %", "same answer %"]]
    rows += [[name, *(f"{value:.1f}" for value in found.values())] for name, found in figures.items()]
    if len(figures) > 1:
        columns = zip(*(found.values() for found in figures.values()), strict=True)
        rows.append(["mean ± standard deviation", *map(spread, columns)])
    write_table("precision", rows)


def measure(run: Path) -> dict[str, float]:
    """Accuracy in both arithmetics and how often the answers are the same, in percent of the test photos."""
    plain = Evaluator.open(run, batch_size=64, accelerator="cpu")
    selected = select(run, data=None, split="test", source_format="auto", classifier=plain.classifier)
    classifier = copy.copy(plain.classifier)
    classifier.model = in_bfloat16(classifier.model).to(memory_format=torch.channels_last)
    quick = dataclasses.replace(plain, classifier=classifier)
    answers = [evaluator.ask(selected.readable)[1] for evaluator in (plain, quick)]
    labels = [found.logits.argmax(1) for found in answers]
    top1 = [100 * (found == answers[0].labels).float().mean().item() for found in labels]
    same = 100 * (labels[0] == labels[1]).float().mean().item()
    return {"float32_top1": top1[0], "bfloat16_top1": top1[1], "same": same}


if __name__ == "__main__":
    main()
