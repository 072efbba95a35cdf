"""A server that classifies photos for many clients at a time. Imports no torch."""
