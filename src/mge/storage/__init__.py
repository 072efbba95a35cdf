"""A model and a run on disk: written whole or not at all."""
