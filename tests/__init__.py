"""Tests of MGE, laid out like src/mge."""

from tests.shapes import check_shapes

__all__ = ["check_shapes"]
