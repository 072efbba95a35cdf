"""Tables and pictures about a trained mixture."""
