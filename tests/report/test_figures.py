from pathlib import Path

import numpy as np
from PIL import Image

from mge.report.figures import ExpertView, Explanation, draw_experts, fit_and_cut


def make_explanation(num_experts: int, *, true_label: str | None = "a") -> Explanation:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[16:32, 16:32] = (250, 250, 0)
    boxes = [(4.5 * number, 2.0, 64.0 - number, 60.0) for number in range(num_experts)]
    picture, cut = fit_and_cut(Image.fromarray(pixels), boxes)
    views = [
        ExpertView(view, np.eye(4, dtype=np.float32), box, (("a", 0.5), ("b", 0.3)), 1 / num_experts)
        for view, box in zip(cut, boxes, strict=True)
    ]
    return Explanation(picture, (64, 64), views, (("a", 0.9), ("b", 0.1)), true_label)


def test_there_is_a_row_for_each_photo_and_a_column_for_each_expert(tmp_path: Path) -> None:
    sizes = {}
    for photos, experts in ((1, 1), (3, 1), (1, 4)):
        file = tmp_path / f"{photos}-{experts}.png"
        draw_experts([make_explanation(experts) for _ in range(photos)], file)
        with Image.open(file) as drawn:
            sizes[photos, experts] = drawn.size
    assert sizes[3, 1][1] > 2 * sizes[1, 1][1]
    assert sizes[1, 4][0] > 2 * sizes[1, 1][0]


def test_a_wrong_answer_and_a_box_smaller_than_a_pixel_can_be_drawn(tmp_path: Path) -> None:
    tiny = make_explanation(1, true_label="b")
    view = tiny.views[0]._replace(box_xyxy=(10.2, 10.2, 10.3, 10.9))
    draw_experts([tiny._replace(views=[view]), make_explanation(2, true_label=None)], tmp_path / "out.png", title="x")
    assert (tmp_path / "out.png").exists()
