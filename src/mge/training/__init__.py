"""How a mixture learns: the step, the loop, what it is measured by."""
