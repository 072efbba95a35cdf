"""Programs that `mge export` writes beside a graph. They show how to use it without MGE, and import nothing of it."""
