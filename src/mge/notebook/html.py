"""HTML that notebooks show for a model, a run or a result: no scripts, no style sheet, colors of the page around it."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

CELL = "padding:2px 14px 2px 0;text-align:left;vertical-align:top"
BAR = "#0072B2"  # blue, legible on white and on black
MAX_ROWS = 20  # rows of a table that are shown; a data frame has all


def html_card(title: str, facts: Mapping[str, str], *parts: str) -> str:
    """Return a title, a list of facts, and further parts, as HTML.

    Args:
        title: The title, as text.
        facts: Names and values, as text.
        parts: HTML below the facts.
    """
    rows = "".join(
        f'<tr><th style="{CELL};font-weight:600">{escape(name)}</th><td style="{CELL}">{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<div style="max-width:60em"><b>{escape(title)}</b><table>{rows}</table>{"".join(parts)}</div>'


def html_bars(ranking: Iterable[tuple[str, float]]) -> str:
    """Return class names with their probabilities as bars."""
    rows = "".join(
        f'<tr><td style="{CELL}">{escape(label)}</td><td style="{CELL};min-width:13em">'
        f'<div style="background:{BAR};height:.8em;margin-top:.3em;width:{max(0.5, 100 * share):.1f}%"></div></td>'
        f'<td style="{CELL}">{100 * share:.1f}&nbsp;%</td></tr>'
        for label, share in ranking
    )
    return f"<table>{rows}</table>"


def html_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return the first rows of a table, with the columns of all of them."""
    shown = rows[:MAX_ROWS]
    columns = list(dict.fromkeys(name for row in shown for name in row))
    head = "".join(f'<th style="{CELL}">{escape(str(name))}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escape(_as_cell(row.get(name, "")))}</td>' for name in columns) + "</tr>"
        for row in shown
    )
    more = f"<div>and {len(rows) - len(shown):,} more rows</div>" if len(rows) > len(shown) else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def text_card(title: str, facts: Mapping[str, str]) -> str:
    """Return a title and a list of facts as lines of text."""
    width = max(map(len, facts), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in facts.items())])


def _as_cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
