"""Tensors: embeddings, the recurrent encoder, the heads, and the network made of them."""

import tagger.nn.compiling  # first of all: it imports numba without the settings of the current directory
