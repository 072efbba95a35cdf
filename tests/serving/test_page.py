"""The page in a real browser: what people see, and what those hear who cannot see it."""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from mge.serving.limits import Limits
from tests.serving.backends import Colors
from tests.serving.running import picture, served, wait_until

pytestmark = pytest.mark.slow

RED = picture(220, 30, 40, size=(300, 200))
SERIOUS = ("serious", "critical")
expect.set_options(timeout=30_000)  # a busy machine takes longer than Playwright's 5 s


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(Colors(), Limits(max_bytes=1_000_000), name="colours") as port:
        yield port


@pytest.fixture
def page(browser: Browser, port: int) -> Iterator[Page]:
    """The page, on which nothing goes wrong unheard and nothing is asked of anyone else."""
    context = browser.new_context()
    page = context.new_page()
    heard: list[str] = []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("console", lambda message: heard.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: heard.append(request.url) if is_foreign(request.url, port) else None)
    page.on("filechooser", lambda _: None)  # Playwright takes its time to look out for them
    page.goto(f"http://127.0.0.1:{port}/")
    yield page
    context.close()
    assert heard == []


def is_foreign(url: str, port: int) -> bool:
    return not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))


def give(page: Page, content: bytes, *, name: str = "red.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})


def find_faults(page: Page) -> list[str]:
    """What axe holds for a serious fault."""
    violations = Axe().run(page).response["violations"]
    return [json.dumps(found["nodes"], indent=1) for found in violations if found["impact"] in SERIOUS]


def test_a_photo_gets_an_answer_boxes_views_and_the_gates_weights(page: Page) -> None:
    expect(page.locator("#model")).to_have_text("colours: mixture-of-experts classifier for 3 classes")
    give(page, RED)
    expect(page.locator("#answer")).to_have_text("red")
    expect(page.locator("#sureness")).to_have_text("75.4 %")  # (220 + 1) / (220 + 30 + 40 + 3)
    expect(page.locator("#top li")).to_have_count(3)
    assert page.locator("#top li").all_inner_texts()[1].split("\n")[0] == "blue"
    shares = [text.replace("\n", " ") for text in page.locator("#shares li").all_inner_texts()]
    assert shares == ["Expert 0 75.0 %", "Expert 1 25.0 %"]
    expect(page.locator("#views li")).to_have_count(2)
    assert page.locator("#views li").nth(1).inner_text().split("\n")[:2] == ["Expert 1", "red"]
    assert re.search("View: 150 . 200 pixels", page.locator("#views li").nth(1).inner_text())


def test_boxes_lie_on_the_photo_where_the_experts_looked(page: Page) -> None:
    give(page, RED)
    expect(page.locator("#boxes rect.edge")).to_have_count(2)
    photo, box = page.locator("#photo").bounding_box(), page.locator("#boxes g").nth(1).bounding_box()
    assert photo is not None
    assert box is not None
    # The right half of the photo. Lines have a width that does not grow with the photo.
    assert box["x"] == pytest.approx(photo["x"] + photo["width"] / 2, abs=6)
    assert box["x"] + box["width"] == pytest.approx(photo["x"] + photo["width"], abs=6)
    assert box["height"] == pytest.approx(photo["height"], abs=12)
    page.get_by_role("button", name="Expert 1").click()
    expect(page.locator("#boxes g").nth(1)).to_be_hidden()
    expect(page.locator("#boxes g").nth(0)).to_be_visible()


def test_attention_is_bright_where_the_expert_looked_and_dark_elsewhere(page: Page) -> None:
    give(page, picture(128, 128, 128))
    expect(page.locator("#views canvas")).to_have_count(2)
    corner = "document.querySelector('#views canvas').getContext('2d').getImageData(0, 0, 1, 1).data[3]"
    wait_until(lambda: bool(page.evaluate(corner)))  # the map has been drawn
    shot = page.locator("#views .picture").first.screenshot()
    values = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)
    height, width = values.shape
    looked = values[int(height * 3 / 8), int(width * 5 / 8)]  # the middle of cell (1, 2) of 4 x 4
    assert looked > 150
    assert values[int(height * 7 / 8), int(width / 8)] < 80


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello " * 9, "notes.png is not a photo that can be read: it is text; accepted: JPEG"),
        (RED[: len(RED) // 2], "notes.png cannot be read: "),
        (bytes(1_500_000), "The photo has 1.5 MB; this server accepts up to 1 MB. Try a smaller copy."),
    ],
)
def test_a_photo_that_is_none_is_answered_with_the_reason_and_the_next_one_works(
    page: Page, content: bytes, reason: str
) -> None:
    give(page, content, name="notes.png")
    expect(page.get_by_role("alert")).to_contain_text(reason)
    expect(page.locator("#result")).to_be_hidden()
    assert find_faults(page) == []
    give(page, RED)
    expect(page.locator("#answer")).to_have_text("red")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_server_that_is_gone_is_said_to_be_and_can_be_asked_again(page: Page) -> None:
    page.route("**/explain", lambda route: route.abort())
    give(page, RED)
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached. Is it still running?")
    page.unroute("**/explain")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#answer")).to_have_text("red")


def test_a_busy_server_is_asked_again_by_itself(page: Page) -> None:
    calls = []

    def refuse_once(route: object) -> None:
        calls.append(route)
        if len(calls) == 1:
            route.fulfill(status=503, headers={"Retry-After": "0.1"}, json={"error": "busy"})  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    page.route("**/explain", refuse_once)
    give(page, RED)
    expect(page.locator("#answer")).to_have_text("red")
    assert len(calls) == 2


def test_all_of_it_works_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "red.png", "mimeType": "image/png", "buffer": RED})
    expect(page.locator("#answer")).to_be_focused()  # so that it is read out
    page.keyboard.press("Tab")  # what can be operated comes after what was read, and before it
    page.get_by_role("button", name="Expert 0").focus()
    page.keyboard.press("Space")
    expect(page.locator("#boxes g").nth(0)).to_be_hidden()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Expert 1")).to_be_focused()
    page.get_by_role("slider", name="Attention").focus()
    page.keyboard.press("Home")
    assert page.locator("#views canvas").first.evaluate("canvas => getComputedStyle(canvas).opacity") == "0"


def test_a_photo_can_be_pasted_and_dropped(page: Page) -> None:
    hand_over = """async ([content, kind]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(content)], "given.png", {type: "image/png"}));
        const made = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true})
                                      : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
        document.body.dispatchEvent(made);
    }"""
    for kind, content, label in (("paste", RED, "red"), ("drop", picture(9, 9, 200), "blue")):
        page.evaluate(hand_over, [list(content), kind])
        expect(page.locator("#answer")).to_have_text(label)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_hinders_people_who_see_or_move_otherwise(page: Page, theme: str, width: int) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 844})
    assert find_faults(page) == []
    give(page, RED)
    expect(page.locator("#answer")).to_have_text("red")
    assert find_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_server_with_a_key_asks_for_it(browser: Browser) -> None:
    with served(Colors(), api_key="sesame") as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        give(page, RED)
        expect(page.get_by_role("alert")).to_contain_text("key is missing or invalid")
        page.get_by_label("API key").fill("sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_have_text("red")
        page.close()


def test_a_photo_that_no_browser_shows_is_shown_as_the_server_read_it(page: Page) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 20, 230)).save(file, "TIFF")
    give(page, file.getvalue(), name="scan.tif")
    expect(page.locator("#answer")).to_have_text("blue")
    assert page.locator("#photo").evaluate("photo => photo.naturalWidth") == 64


def test_an_unknown_photo_is_said_to_be_one(page: Page) -> None:
    def doubt(route: object) -> None:
        answer = route.fetch().json()  # type: ignore[attr-defined]
        route.fulfill(json={**answer, "label": "unknown", "reason": "the most likely class has 30 %"})  # type: ignore[attr-defined]

    page.route("**/explain", doubt)
    give(page, RED)
    expect(page.locator("#answer")).to_have_text("unknown")
    expect(page.locator("#eyebrow")).to_have_text("Confidence below the threshold")
    expect(page.locator("#sureness")).to_have_text("The most likely class has 30 %.")
