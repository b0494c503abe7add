"""Strings: sentences, tag schemes, vocabularies, word vectors, file formats and batches."""
