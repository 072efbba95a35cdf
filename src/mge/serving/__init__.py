"""A server that classifies photos for many clients concurrently. Imports no torch."""
