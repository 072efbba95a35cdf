"""Tables, progress and messages in a terminal."""
