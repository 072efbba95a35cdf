"""Displays of results in notebooks: HTML without scripts, thumbnails, and data frames."""
