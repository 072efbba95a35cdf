"""The paper: pure functions on tensors."""
