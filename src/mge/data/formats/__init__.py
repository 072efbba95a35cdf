"""Photo files before decoding: checked against limits, and reduced to the parts that a decoder needs."""
