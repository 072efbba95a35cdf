"""`mge explain` leaves a picture for each photo, and pages that work in a browser without a network."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser

import mge
from mge.cli import main
from tests.photos import write_scene
from tests.runs import write_model

NAMES = ("Granny-Smith", "<b>Ribston & Pippin</b>", "Jonagold")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "apples", class_names=NAMES, num_experts=3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate([(160, 120), (90, 200), (300, 300)]):
        write_scene(folder / "shelf" / f"{number}.png", seed=number, size=size)
    write_scene(folder / "market" / "0.jpg", seed=9)
    return folder


@pytest.fixture(scope="module")
def explained(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    mge.explain(model, [str(photos)], output=folder, against="granny smith", batch_size=2)
    return folder


def test_there_is_a_picture_for_each_photo_also_where_two_share_a_name(explained: Path) -> None:
    assert {file.name for file in explained.iterdir()} == {"0.png", "0-2.png", "1.png", "2.png", "index.html"}
    for file in explained.glob("*.png"):
        with Image.open(file) as picture:
            picture.load()
            assert picture.mode == "RGB"
            assert picture.width > 1000


def test_a_contrast_adds_its_rows(model: Path, photos: Path, tmp_path: Path, explained: Path) -> None:
    (plain,) = mge.explain(model, [str(photos / "shelf" / "1.png")], output=tmp_path)
    assert plain == tmp_path / "1.png"
    assert not (tmp_path / "index.html").exists()
    with Image.open(plain) as without, Image.open(explained / "1.png") as contrasted:
        assert contrasted.height > without.height + 3 * 226


def test_one_expert_is_explained_too(photos: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "plain", num_experts=1, part_filters=0)
    (picture,) = mge.explain(model, [str(photos / "shelf" / "1.png")], output=tmp_path / "out")
    assert picture.exists()


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole_in_itself(explained: Path, browser: Browser, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((explained / "index.html").as_uri())
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = [url for url in requests if not url.startswith("data:") and url != (explained / "index.html").as_uri()]
    assert not complaints
    assert not outside
    assert Axe().run(page).violations_count == 0
    page.close()


def test_photos_are_found_and_sorted_with_the_keyboard(explained: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto((explained / "index.html").as_uri())
    assert page.locator("article:visible").count() == 4
    page.keyboard.press("Tab")
    page.keyboard.type("shelf/1")
    assert page.locator("article:visible").count() == 1
    assert page.locator("output").inner_text() == "1 of 4 on this page"
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.select_option("#order", "unsure")
    shares = [float(str(card.get_attribute("data-probability"))) for card in page.locator("article").all()]
    assert shares == sorted(shares)
    page.close()


def test_a_class_name_is_text_and_nothing_else(explained: Path) -> None:
    page = (explained / "index.html").read_text(encoding="utf-8")
    assert "<b>Ribston" not in page
    assert "&lt;b&gt;Ribston &amp; Pippin" in page


def test_many_photos_are_spread_over_pages(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mge.report.gallery_writer.PER_PAGE", 3)
    mge.explain(model, [str(photos)], output=tmp_path)
    first, second = ((tmp_path / name).read_text(encoding="utf-8") for name in ("index.html", "index-2.html"))
    assert (first.count("<article"), second.count("<article")) == (3, 1)
    assert 'href="index-2.html"' in first
    assert 'href="index.html"' in second


def test_what_cannot_be_read_is_named_and_the_others_are_explained(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    good = str(photos / "shelf" / "2.png")
    assert main(["explain", str(model), str(broken), good, "--output", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out" / "2.png").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("mge: error: 1 of 2 photos could not be read")


def test_of_many_that_cannot_be_read_the_first_are_named(model: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(13):
        (tmp_path / f"broken-{number:02}.jpg").write_bytes(b"no photo")
    good = str(photos / "shelf" / "2.png")
    with pytest.raises(mge.DataError, match=r"^13 of 14 photos .*broken-09.jpg .*; and 3 more$"):
        mge.explain(model, [good, str(tmp_path)], output=tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(mge.ConfigError, match="which exists and is not a folder; give another name"):
        mge.explain(model, [str(photos)], output=tmp_path / "taken")
