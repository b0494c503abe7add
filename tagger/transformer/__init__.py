"""Pretrained transformers: subwords, windows over documents, and the hidden states of tokens."""
