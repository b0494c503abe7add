"""Tensors: embeddings, the recurrent encoder, the heads, and the network made of them."""

from tagger.nn import (
    compiling as compiling,
)  # first of all: it imports numba without the settings of the current directory
