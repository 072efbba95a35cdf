"""Terminal output that continues silently when its reader is gone."""

import importlib.util
import sys

from rich.console import Console

from mge.console.streams import silence


class Terminal(Console):
    """A console of rich that falls silent, instead of failing, when its reader (such as `head`) has closed the pipe."""

    def on_broken_pipe(self) -> None:
        """Stop writing."""
        self.quiet = True
        silence(sys.stderr if self.stderr else sys.stdout)


def is_live(console: Console) -> bool:
    """Return whether lines can be redrawn: in a terminal, or in a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
