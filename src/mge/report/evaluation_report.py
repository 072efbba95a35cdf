"""The report of an evaluation: one HTML page, and its data beside it."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mge.data.photo import as_text
from mge.evaluation.evaluation import Evaluation
from mge.evaluation.metrics import confusion_matrix, most_confused, score_classes
from mge.evaluation.recorded_photos import common_folder
from mge.report.cases import Verdicts, most_doubtful, show_pairs, surest_mistakes
from mge.report.components import list_heads, list_parts
from mge.report.evaluation_plots import draw_plots
from mge.report.facts import data_facts, origin_facts
from mge.report.matrices import LARGEST_TABLE, as_matrix, cluster, confused_block
from mge.report.page import ClassRow, LocalizationRow, Page, render
from mge.storage.files import write_text_atomically
from mge.storage.run_folder import Run, is_run, read_json

PAGE = "report.html"
FILES = {
    "figures.json": "all results of this page",
    "photos.csv": "every photo with its true label, the predictions of mixture and experts, and the gate weights",
    "classes.csv": "precision, recall and F1 of every class",
    "confusion.csv": "the full confusion matrix: rows are true labels, columns predictions",
    "pairs.csv": "all confused class pairs, the most frequent first",
}
NUM_PAIRS = 8  # that are shown with photos
LOCALISATION = {
    "top1_localisation": "top-1 localization", "gt_known": "GT-known", "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2", "max_box_acc_of_any": "MaxBoxAcc, any class",
    "pointing_game": "pointing game", "pointing_game_15px": "within 15 px",
}  # fmt: skip


def folder_of_report(file: Path) -> Path:
    """Return the folder of the report that belongs to an evaluation's JSON file."""
    return file.with_suffix("") if file.suffix else file.with_name(f"{file.name}-report")


def write_report(evaluation: Evaluation, path: Path) -> Path:
    """Write the report into a folder beside the evaluation's JSON file, with the same name.

    Args:
        evaluation: The evaluation.
        path: The run folder or model folder.

    Returns:
        The page.

    Raises:
        StorageError: it cannot be written.
    """
    file = evaluation.file
    folder = folder_of_report(file)
    names = evaluation.classifier.class_names
    verdicts = judge(evaluation)
    confusion = confusion_matrix(evaluation.answers.labels, verdicts.predicted, num_classes=len(names))
    classes = class_rows(confusion, names)
    page = _build_page(evaluation, verdicts, confusion, classes, path=path)
    write_text_atomically(folder / "figures.json", json.dumps(evaluation.figures, indent=1) + "\n")
    write_text_atomically(folder / "photos.csv", _as_csv(photo_rows(verdicts)))
    write_text_atomically(folder / "classes.csv", _as_csv(row._asdict() for row in classes))
    counts = zip(names, confusion.tolist(), strict=True)
    table = ({"label": name, **dict(zip(names, row, strict=True))} for name, row in counts)
    write_text_atomically(folder / "confusion.csv", _as_csv(table))
    write_text_atomically(folder / "pairs.csv", _as_csv(_pair_rows(confusion, names)))
    write_text_atomically(folder / PAGE, as_text(render(page)))  # commands and files may be named in other encodings
    return folder / PAGE


def judge(evaluation: Evaluation) -> Verdicts:
    """Return what the model says of each photo of an evaluation."""
    return Verdicts(
        evaluation.answers, evaluation.photos, evaluation.classifier.class_names,
        temperature=evaluation.figures["calibration"]["temperature"],
        root=common_folder(evaluation.selected.photos.records),
    )  # fmt: skip


def _build_page(
    evaluation: Evaluation, verdicts: Verdicts, confusion: Tensor, classes: Sequence[ClassRow], *, path: Path
) -> Page:
    run = Run(path) if is_run(path) else None
    names = evaluation.classifier.class_names
    pairs = most_confused(confusion, at_most=len(names))
    mistakes = surest_mistakes(verdicts)
    counts = confusion.numpy()
    seen = [number for number in range(len(names)) if confusion[number].any() or confusion[:, number].any()]
    order = [seen[place] for place in cluster(counts[seen][:, seen])]
    block = order if len(order) <= LARGEST_TABLE else confused_block((pair.first, pair.second) for pair in pairs)
    return Page(
        title=f"Evaluation report: {(run.folder if run else evaluation.file.parent).resolve().name}",
        figures=evaluation.figures,
        parts=list_parts(evaluation.figures, run.summary() if run else {}),
        heads=list_heads(evaluation.figures),
        classes=classes,
        plots=draw_plots(evaluation, confusion=counts, order=order, metrics=run.metrics() if run else []),
        matrix=as_matrix(counts, names, order=block),
        pairs=show_pairs(verdicts, pairs[:NUM_PAIRS]),
        mistakes=[verdicts.show(number) for number in mistakes],
        doubtful=[verdicts.show(number) for number in most_doubtful(verdicts, but=mistakes)],
        localisation=read_localization(path, evaluation.figures),
        data=data_facts(evaluation),
        origin=origin_facts(evaluation, run),
        files=FILES,
    )


def read_localization(path: Path, figures: Mapping[str, Any]) -> list[LocalizationRow]:
    """Read the results of `mge localize` for the same photos, if it was run and they have boxes."""
    file = path / f"localisation-{figures['split']}" / "localisation.json"
    found = read_json(file, dict, remedy="remove it, or write it again with mge localize") or {}
    if found.get("data") != figures["data"] or found.get("split") != figures["split"]:
        return []
    return [
        LocalizationRow(f"expert {number}", {name: row[key] for key, name in LOCALISATION.items() if key in row})
        for number, row in enumerate(found.get("experts", []))
    ]


def class_rows(confusion: Tensor, names: Sequence[str]) -> list[ClassRow]:
    """Return the classes that have photos, the worst first; then those predicted only for photos of others."""
    scores = score_classes(confusion)
    rows = []
    for number, name in enumerate(names):
        if not (confusion[number].any() or confusion[:, number].any()):
            continue
        precision, recall, f1 = (
            None if value != value else round(100 * value, 2)
            for value in (float(column[number]) for column in (scores.precision, scores.recall, scores.f1))
        )
        others = confusion[number].clone()
        others[number] = 0
        worst = int(others.argmax())
        mistaken_for = f"{names[worst]} ({int(others[worst])})" if others[worst] else ""
        rows.append(ClassRow(name, int(scores.num_photos[number]), recall, precision, f1, mistaken_for))
    return sorted(rows, key=lambda row: (row.num_photos == 0, row.f1, row.name))


def photo_rows(verdicts: Verdicts) -> Iterable[dict[str, Any]]:
    """Yield a row for each photo: its true label, the predictions of mixture and experts, and the gate weights."""
    answers, names = verdicts.answers, verdicts.class_names
    doubtful = verdicts.is_doubtful
    for number, record in enumerate(verdicts.photos.records):
        row: dict[str, Any] = {
            "path": as_text(str(record.path)),
            "label": names[int(answers.labels[number])],
            "answer": names[int(verdicts.predicted[number])],
            "probability": round(float(verdicts.confidences[number]), 6),
            "label_probability": round(float(verdicts.label_probs[number]), 6),
            "is_right": int(verdicts.predicted[number] == answers.labels[number]),
            "label_looks_wrong": int(doubtful[number]),
        }
        for expert, label in enumerate(answers.joint_labels[number].tolist()):
            row[f"expert_{expert}"] = names[label]
            row[f"gate_{expert}"] = round(float(answers.gate_probs[number, expert]), 6)
        yield row


def _pair_rows(confusion: Tensor, names: Sequence[str]) -> Iterable[dict[str, Any]]:
    for pair in most_confused(confusion, at_most=confusion.numel()):
        yield {
            "first": names[pair.first], "second": names[pair.second], "num_mistakes": pair.num_mistakes,
            "num_first_as_second": pair.num_first_as_second, "num_second_as_first": pair.num_second_as_first,
        }  # fmt: skip


def _as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows with the same columns as CSV; only a newline if there is no row."""
    listed = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()
