"""Networks: backbone, expert, gate, mixture, and the authors' checkpoints."""
