"""How much of a mixture one plain network can learn: students of finished runs, with and without each ingredient.

`python benchmarks/distill.py [RUN ...]` takes each run, of another seed, for a teacher; without any it takes those of
benchmarks/demo.py. It trains what is missing, goes on where it was stopped, and writes benchmarks/results/distill.json
and the table in the docs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from trainings import RESULTS, RUNS, distill_once, spread, write_table

from mge.storage.run_folder import open_run

DEMO = tuple(RUNS / f"demo-seed{seed}" for seed in (0, 1, 2))

# The name of a student → what it is taught with. The first is the default.
STUDENTS: dict[str, dict[str, Any]] = {
    "student": {},
    "student, whole photos only": {"zoomed_weight": 0.0},
    "student, zoomed views and labels only": {"teacher_weight": 0.0},
    "student with part filters": {"part_filters": 10},
}
REFERENCES = {
    "plain_top1": "plain network, labels only",
    "plain_equal_compute_top1": "plain network, equal compute (larger view)",
    "teacher_top1": "teacher, the whole mixture",
}


def main() -> None:
    """Trains the students that are missing, teacher by teacher, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, default=DEMO, metavar="RUN", help="finished runs of mixtures")
    parser.add_argument("--only", nargs="+", choices=STUDENTS, default=list(STUDENTS), help="students to train")
    given = parser.parse_args()
    teachers = [open_run(run).folder for run in given.runs]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in given.only}
    for teacher in teachers:
        for name in given.only:
            folder = f"distill/{name}, {teacher.name}"
            found[name].append(distill_once(folder, teacher, STUDENTS[name]))
            write(found, teachers=teachers)


def write(found: dict[str, list[dict[str, Any]]], *, teachers: list[Path]) -> None:
    """Writes the figures so far as JSON, and as a table into the docs."""
    first = next(summaries for summaries in found.values() if summaries)
    tops = {
        name: [summary[key] for summary in first]
        for key, name in REFERENCES.items()
        if all(key in summary for summary in first)
    }
    tops |= {name: [summary["student_top1"] for summary in summaries] for name, summaries in found.items() if summaries}
    head = {"command": "python benchmarks/distill.py", "teachers": [teacher.name for teacher in teachers]}
    text = json.dumps({**head, "students": STUDENTS, "test_top1": tops}, indent=1) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "distill.json").write_text(text, encoding="utf-8")
    rows = [["model", "seeds", "test accuracy in %"]]
    write_table("distill", [*rows, *([name, str(len(top1)), spread(top1)] for name, top1 in tops.items())])


if __name__ == "__main__":
    main()
