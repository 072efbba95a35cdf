"""Tables, plots and pictures about a trained mixture."""
