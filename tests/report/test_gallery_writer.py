from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mge.report.figures import VIEW_SIDE, ExpertView, Explanation
from mge.report.gallery_writer import GalleryWriter


def explain(path: str) -> Explanation:
    picture = Image.new("RGB", (60, 40), "teal")
    view = picture.resize((VIEW_SIDE, VIEW_SIDE))
    attention = np.ones((7, 7), dtype=np.float32)
    views = [ExpertView(view, attention, (0.0, 0.0, 60.0, 40.0), (("a", 0.75), ("b", 0.25)), 1.0)]
    return Explanation(picture, (60, 40), views, (("a", 0.75), ("b", 0.25)), path=path)


def test_a_photo_whose_name_is_no_text_has_its_picture_and_its_place_in_the_page(tmp_path: Path) -> None:
    album = GalleryWriter(tmp_path, title="photos", num_photos=2)
    album.add(explain("photos/cr\udce8me.jpg"))
    album.pass_over()
    page = album.finish()
    assert album.pictures[0].is_file()
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert 'href="cr%E8me.png"' in text
    assert "photos/cr\ufffdme.jpg" in text


def test_a_page_is_written_when_it_is_full_and_knows_those_that_will_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mge.report.gallery_writer.PER_PAGE", 2)
    monkeypatch.setattr("mge.report.gallery_writer.NUM_WAITING", 0)
    album = GalleryWriter(tmp_path, title="photos", num_photos=5)
    album.add(explain("0.jpg"))
    assert not (tmp_path / "index.html").exists()
    album.pass_over()
    first = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert first.count("<article") == 1
    assert "1 photo on page 1 of 3" in first
    assert 'href="index-3.html"' in first
    for name in ("2.jpg", "3.jpg", "4.jpg"):
        album.add(explain(name))
    assert album.finish() == tmp_path / "index.html"
    assert "2 photos on page 2 of 3" in (tmp_path / "index-2.html").read_text(encoding="utf-8")
    assert "1 photo on page 3 of 3" in (tmp_path / "index-3.html").read_text(encoding="utf-8")


def test_of_many_pages_those_nearby_and_both_ends_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mge.report.gallery_writer.PER_PAGE", 1)
    album = GalleryWriter(tmp_path, title="photos", num_photos=30)
    for number in range(30):
        album.add(explain(f"{number}.jpg"))
    album.finish()
    page = (tmp_path / "index-15.html").read_text(encoding="utf-8")
    linked = [number for number in range(1, 31) if page.count(f">page {number}</a>") == 2]  # above and below
    assert linked == [1, *range(10, 21), 30]


def test_nothing_is_opened_where_no_photo_could_be_read(tmp_path: Path) -> None:
    album = GalleryWriter(tmp_path, title="photos", num_photos=2)
    album.pass_over()
    album.pass_over()
    assert album.finish() is None
    assert not list(tmp_path.iterdir())


def test_photos_that_share_a_name_have_a_picture_each(tmp_path: Path) -> None:
    album = GalleryWriter(tmp_path, title="photos", num_photos=5)
    for path in ("a/photo.jpg", "b/photo.jpg", "photo-2.jpg", "c/photo.jpg", "d/photo-2.jpg"):
        album.add(explain(path))
    album.finish()
    names = [picture.stem for picture in album.pictures]
    assert names == ["photo", "photo-2", "photo-2-2", "photo-3", "photo-2-3"]
    assert all(picture.is_file() for picture in album.pictures)
