from pathlib import Path

import numpy as np
from PIL import Image

from mge.report.album import Album
from mge.report.figures import VIEW_SIDE, ExpertView, Explanation


def explain(path: str) -> Explanation:
    picture = Image.new("RGB", (60, 40), "teal")
    view = picture.resize((VIEW_SIDE, VIEW_SIDE))
    attention = np.ones((7, 7), dtype=np.float32)
    views = [ExpertView(view, attention, (0.0, 0.0, 60.0, 40.0), (("a", 0.75), ("b", 0.25)), 1.0)]
    return Explanation(picture, (60, 40), views, (("a", 0.75), ("b", 0.25)), path=path)


def test_a_photo_whose_name_is_no_text_has_its_picture_and_its_place_in_the_page(tmp_path: Path) -> None:
    album = Album(tmp_path, keeps_pages=True)
    album.add(explain("photos/cr\udce8me.jpg"))
    page = album.finish(title="photos")
    assert album.pictures[0].is_file()
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert 'href="cr%E8me.png"' in text
    assert "photos/cr\ufffdme.jpg" in text
