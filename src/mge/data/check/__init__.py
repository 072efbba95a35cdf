"""Checks of photos before training: what cannot be read, what is there twice, what is suspicious."""
