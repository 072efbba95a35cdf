"""Photo files before they are decoded: bounded by what they declare, and cut down to what a decoder needs of them."""
