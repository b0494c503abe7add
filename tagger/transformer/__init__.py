"""Pretrained transformers: subwords, windows over documents, and the states of tokens."""
