"""The method of the paper as pure functions on tensors."""
