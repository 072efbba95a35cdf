"""Early exit: photos leave after the first expert that is sure enough."""
