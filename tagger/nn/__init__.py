"""Tensors: embeddings, the recurrent encoder, the heads, and the network made of them."""

# First of all: it imports numba without the settings of the current directory.
from tagger.nn.kernels import compiling as compiling
