"""A stored or exported mixture that classifies photos."""
