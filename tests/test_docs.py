"""The pages lead where they say, and name what exists."""

import ast
import re
from pathlib import Path

import pytest

from mge.config import split_options
from mge.console.command_line import parse
from mge.tasks.train import train

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECIPES = sorted(ROOT.glob("recipes/*.yaml"))


def anchor(heading: str) -> str:
    """The anchor that a heading gets on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, fragment = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in [anchor(heading) for heading in headings], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    cells = 0
    for line in page.read_text(encoding="utf-8").splitlines():
        bars = re.sub(r"`[^`]*`", "", line).replace(r"\|", "").count("|") if line.startswith("|") else 0
        assert bars in (cells, 0) or cells == 0, line
        cells = bars


def test_the_page_about_the_code_names_what_the_code_has() -> None:
    text = (ROOT / "docs" / "paper-to-code.md").read_text(encoding="utf-8")
    names = set()
    for file in (ROOT / "src" / "mge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
    said = {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"^\.?(\w+(?:\.\w+)*)", code)}
    unknown = {word for name in said for word in name.split(".") if word not in {*names, "mge", "config"}}
    assert not unknown


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_has_options_that_exist(recipe: Path) -> None:
    settings = parse(train, ["--config", str(recipe)])
    options = {name: value for name, value in settings.items() if name not in ("data", "format", "preset")}
    split_options(options, preset=settings.get("preset", "default"))
