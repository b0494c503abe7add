"""Compiled CPU kernels for training and tagging: LSTM, convolution, lookup, document context, matrix multiplication."""
