"""Tensors: embeddings, the recurrent encoder, the heads, and the network made of them."""
