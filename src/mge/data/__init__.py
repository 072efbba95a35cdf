"""Data loading: from files to tensors, independent of any model."""
