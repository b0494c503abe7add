"""The network's forward pass for tagging on a CPU, in kernels whose results do not depend on the batch."""
