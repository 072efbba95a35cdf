"""Commands of the command line, one file each. Heavy imports stay inside the functions, so that `--help` is quick."""
