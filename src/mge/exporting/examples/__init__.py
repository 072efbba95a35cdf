"""Example programs that `mge export` writes beside a graph; they run it without MGE, and import nothing of it."""
