"""The terminal: what is typed into it."""
