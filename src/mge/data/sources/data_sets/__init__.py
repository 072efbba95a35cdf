"""Readers of published data sets, one file each: a file that is put here is found, and listed nowhere else."""
