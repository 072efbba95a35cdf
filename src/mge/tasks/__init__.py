"""One file a verb of the command line. They import what is heavy inside their function, so that `--help` is quick."""
