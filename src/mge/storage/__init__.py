"""Models and runs on disk, written atomically."""
