"""Tagging: sentences in, the same sentences out with tags and spans."""

from tagger.tagging.decoding import DecodingOptions
from tagger.tagging.tagger import EncodedPool, Tagger, load

__all__ = ["DecodingOptions", "EncodedPool", "Tagger", "load"]
