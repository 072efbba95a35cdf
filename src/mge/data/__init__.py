"""Files into tensors. Knows no model."""
