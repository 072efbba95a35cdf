"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.photos import write_class_folders

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors are quicker on one thread, and sums do not depend on the machine's number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    """A test that draws random numbers draws the same ones whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Drawn photos and downloads of the tests go to a folder of their own, and no test reaches for the network."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("MGE_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield cache


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium. Where it is missing these tests are skipped, but not where CI has to run all of them."""
    from playwright.sync_api import sync_playwright  # most tests need no browser

    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with eight photos of each of three colours; a file of tests may have others."""
    return write_class_folders(tmp_path_factory.mktemp("photos"), per_class=8)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of an untrained mixture of two experts, calibrated as if it had been trained."""
    from tests.exports import save_tiny  # not above: jaxtyping's hook comes before the first import of mge

    return save_tiny(tmp_path_factory.mktemp("tiny") / "model", calibration={"temperature": 1.5})


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same mixture as an .onnx file, with preprocessing.json beside it; for tests marked `compiled`."""
    from tests.exports import export_folder

    return export_folder(tiny_model, tmp_path_factory.mktemp("exported"))
