"""The mixture as a graph that runs without MGE."""
