"""Compiled CPU kernels for training and tagging: recurrence, convolution, dropout, lookup."""
