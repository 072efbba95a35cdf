"""Terminal output that continues silently when its reader is gone."""

import sys

from rich.console import Console

from mge.console.streams import silence


class Terminal(Console):
    """A console of rich that falls silent, instead of failing, when its reader (such as `head`) has closed the pipe."""

    def on_broken_pipe(self) -> None:
        """Stop writing."""
        self.quiet = True
        silence(sys.stderr if self.stderr else sys.stdout)
