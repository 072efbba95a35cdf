"""A terminal, or a file or program in its place: nothing stops when the reader goes."""

import sys

from rich.console import Console

from mge.console.streams import silence


class Terminal(Console):
    """A console of rich. Where its reader, such as `head`, has seen enough, work goes on without a word."""

    def on_broken_pipe(self) -> None:
        """Stop writing."""
        self.quiet = True
        silence(sys.stderr if self.stderr else sys.stdout)
