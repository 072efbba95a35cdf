"""The terminal: the command line, tables, progress and messages."""
