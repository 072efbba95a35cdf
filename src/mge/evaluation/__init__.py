"""Measurements of a stored mixture, and the parameters that are fitted on validation photos."""
