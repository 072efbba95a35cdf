"""Training: the step, the loop, evaluation during and after it."""
