"""The page of an evaluation, from made-up figures: tables that sort, filter and download, and are whole without."""

import csv
import hashlib
import io
import re
import urllib.parse
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from markupsafe import Markup
from playwright.sync_api import Browser

from mge.report.matrices import as_matrix
from mge.report.page import ClassRow, Page, PartAccuracy, render

NAMES = ["<b>elm</b>", 'oak, "red"', "ash", "fir", "yew", "box", "bay"]
FIGURES: dict[str, Any] = {
    "headline": "The mixture has a top-1 accuracy of 60.0 % (95 % CI 50.0 to 70.0 %) on the test split of trees.",
    "advice": ["Lowest recall: <b>elm</b> (0 of 1,440)."],
    "num_photos": 1500, "num_broken": 0, "measured": "the test split of trees", "num_doubtful_labels": 0,
    "mixture_top1": 60.0, "mixture_interval": [50.0, 70.0], "balanced_top1": 55.0, "balanced_interval": [45.0, 65.0],
    "mixture_top5": 90.0, "macro_f1": 51.5, "majority_top1": 30.0, "chance_top1": 14.29,
    "calibration": {"temperature": 1.0, "ece_before": 5.0, "ece_after": 4.0, "loss_before": 1.0, "loss_after": 0.9},
    "experts_top1": [50.0, 55.0], "oracle_top1": 80.0, "gate_mean": [0.5, 0.5],
    "disagreement_percent": [[0.0, 20.0], [20.0, 0.0]], "error_correlation": [[1.0, None], [None, 1.0]],
}  # fmt: skip
RECALLS = [0.0, 9.5, 100.0, None, 33.3, 50.0, 7.0]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    counts = np.diag([1440, 2, 3, 0, 5, 6, 7])
    content = Page(
        title="Evaluation report: trees", figures=FIGURES, parts=[PartAccuracy("mixture", 60.0, "all", is_main=True)],
        heads=[PartAccuracy("expert 0, global head", 50.0)],
        classes=[
            ClassRow(name, int(counts[n, n]), RECALLS[n], None, None, "") for n, name in enumerate(NAMES)
        ],
        plots={"reliability": Markup(""), "coverage": Markup("")},
        matrix=as_matrix(counts, NAMES, order=list(range(7))),
        pairs=[], mistakes=[], doubtful=[], localisation=[], data={}, origin={}, files={},
    )  # fmt: skip
    file = tmp_path / "report.html"
    file.write_text(render(content), encoding="utf-8")
    return file


def test_the_page_begins_with_the_result_and_has_the_usual_metrics(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f'</h1>\n  <p class="headline">{FIGURES["headline"]}</p>' in text
    assert "<li>Lowest recall: &lt;b&gt;elm&lt;/b&gt; (0 of 1,440).</li>" in text
    tiles = dict(re.findall(r'<div class="tile"><b>(.*?)</b><span>(.*?)</span>', text))
    assert tiles["90.0\u00a0%"] == "Top-5 accuracy"
    assert tiles["51.5\u00a0%"].startswith("Macro-F1")
    assert "14.3\u00a0%" in tiles["30.0\u00a0%"]


def test_heads_are_folded_and_every_row_is_there_without_scripts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folded = text.partition("<details>")[2].partition("</details>")[0]
    assert text.count("global head") == folded.count("global head") == 1
    rows = text.partition('<section id="classes">')[2].partition("</section>")[0]
    assert rows.count('<th class="word" scope="row">') == len(NAMES)
    assert "hidden" not in text.partition("<body>")[2].partition("<script>")[0]


def test_the_page_allows_its_own_script_and_no_other(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\">" in text
    assert script.count("\n") < 60


@pytest.mark.slow
def test_tables_sort_filter_and_download_in_a_browser(page: Path, browser: Browser) -> None:
    opened = browser.new_page(viewport={"width": 390, "height": 900})
    messages: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.goto(page.as_uri())
    classes = opened.locator("#classes")

    def recalls() -> list[str]:
        return [text.removesuffix("\u00a0%") for text in classes.locator("tbody td:nth-child(3)").all_inner_texts()]

    classes.get_by_role("button", name="recall").click()
    assert recalls() == ["0.0", "7.0", "9.5", "33.3", "50.0", "100.0", "\u2013"]
    classes.get_by_role("button", name="recall").click()
    assert recalls() == ["100.0", "50.0", "33.3", "9.5", "7.0", "0.0", "\u2013"]
    assert classes.locator("th[aria-sort=descending]").count() == 1
    classes.get_by_role("button", name="class").click()
    assert classes.locator("tbody th").all_inner_texts() == [
        "<b>elm</b>",
        "ash",
        "bay",
        "box",
        "fir",
        'oak, "red"',
        "yew",
    ]
    classes.get_by_role("searchbox").fill("OAK")
    assert classes.locator("tbody tr:visible th").all_inner_texts() == ['oak, "red"']
    link = classes.get_by_role("link", name="CSV")
    with opened.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.startswith("classes")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert [row["class"] for row in rows] == NAMES
    assert (rows[0]["photos"], rows[1]["recall"]) == ("1440", "9.5")
    matrix = urllib.parse.unquote(str(opened.locator("#confusion .tools a").first.get_attribute("href")))
    assert list(csv.DictReader(io.StringIO(matrix.partition("\ufeff")[2])))[1]['oak, "red"'] == "2"
    assert opened.locator(".two > .tools").count() == 0  # they would be columns of their own
    assert messages == []
    opened.close()
    checked = browser.new_page(bypass_csp=True)
    checked.goto(page.as_uri())
    assert Axe().run(checked).response["violations"] == []
    checked.close()
