from PIL import Image

from mge.report.cards import show


def test_a_photo_is_shown_with_what_each_expert_saw_and_said() -> None:
    shown = show(
        Image.new("RGB", (60, 60), "teal"), [(0, 0, 60, 60), (10, 10, 40, 40)], path="cr\udce8me.jpg", label="a",
        answer="b", percent=60, label_percent=30, expert_labels=["a", "b"], gate_probs=[0.25, 0.75], is_doubtful=True,
    )  # fmt: skip
    assert shown.path == "cr\ufffdme.jpg"
    assert not shown.is_right
    assert [(view.label, view.is_right, view.gate_percent) for view in shown.views] == [
        ("a", True, 25),
        ("b", False, 75),
    ]
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in (shown.picture, shown.views[0].picture))
