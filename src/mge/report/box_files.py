"""Found boxes as tables and as COCO files, and the figures about them."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from mge.console.tables import say

Box = tuple[float, float, float, float]

EDGES = ("x1", "y1", "x2", "y2")
HEADS = {
    "top1_localisation": "top-1 loc", "gt_known": "GT-known", "max_box_acc": "MaxBoxAcc", "max_box_acc_v2": "V2",
    "max_box_acc_of_any": "of any class", "pointing_game": "pointing", "pointing_game_15px": "+15 px",
}  # fmt: skip


class BoxRow(NamedTuple):
    """One photo with its boxes, in its own pixels, end-exclusive."""

    path: str
    size: tuple[int, int]  # width and height
    label: str  # the mixture's answer
    probability: float
    true_label: str
    views_xyxy: Sequence[Box]  # what each expert saw
    found_xyxy: Sequence[Box]  # the box around the attention of each
    true_box_xyxy: Box | None


def as_csv(rows: Sequence[BoxRow]) -> str:
    """One line a photo; the boxes of expert 1 are `view_1_x1` … and `found_1_x1` …, empty where there is none."""
    text = io.StringIO()
    num_experts = max((len(row.views_xyxy) for row in rows), default=0)
    boxes = [f"{kind}_{number}" for number in range(num_experts) for kind in ("view", "found")] + ["true"]
    columns = ["path", "width", "height", "label", "probability", "true_label"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *(f"{box}_{edge}" for box in boxes for edge in EDGES)])
    for row in rows:
        found = [box for pair in zip(row.views_xyxy, row.found_xyxy, strict=True) for box in pair]
        edges = [round(edge, 2) for box in found for edge in box]
        truth = row.true_box_xyxy or ("",) * 4
        writer.writerow([row.path, *row.size, row.label, round(row.probability, 6), row.true_label, *edges, *truth])
    return text.getvalue()


def as_coco(rows: Sequence[BoxRow], *, class_names: Sequence[str], about: str) -> dict[str, Any]:
    """The boxes around the experts' attention as a COCO file has them: one annotation an expert and photo.

    Args:
        rows: The photos.
        class_names: Categories, which are numbered from 1 as in COCO.
        about: What the file says of itself.
    """
    numbers = {name: number for number, name in enumerate(class_names, start=1)}
    annotations: list[dict[str, Any]] = []
    for image, row in enumerate(rows, start=1):
        for expert, (x1, y1, x2, y2) in enumerate(row.found_xyxy):
            box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": numbers[row.label], "bbox": box,
                    "area": round(box[2] * box[3], 2), "iscrowd": 0, "score": round(row.probability, 6),
                    "expert": expert,
                }
            )  # fmt: skip
    return {
        "info": {"description": about},
        "images": [
            {"id": image, "file_name": row.path, "width": row.size[0], "height": row.size[1]}
            for image, row in enumerate(rows, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": annotations,
    }


def print_localization(figures: Mapping[str, Any], *, folder: str) -> None:
    """Writes how well things were found, where that is known, and where the boxes are."""
    if figures["num_with_box"]:
        say(localization_table(figures))
    else:
        say(f"None of the {figures['num_photos']} photos has a true box: nothing is measured.")
    say(f"Boxes: {folder}/boxes.csv and boxes.json (COCO)")


def localization_table(figures: Mapping[str, Any]) -> Table:
    """A row for each expert, and one for what needs no network."""
    table = Table(
        title=f"Localisation in percent, on {figures['num_with_box']} photos of the {figures['split']} split with a box"
    )
    table.pad_edge = False
    table.add_column("attention\nof", no_wrap=True)
    for head in HEADS.values():
        table.add_column(head.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for number, row in enumerate(figures["experts"]):
        table.add_row(f"expert {number}", *(f"{row[key]:.1f}" for key in HEADS))
    whole = figures["whole"]
    table.add_section()
    table.add_row("centre", "", *(f"{whole[key]:.1f}" if key in whole else ""
                                                                for key in list(HEADS)[1:]))  # fmt: skip
    return table
