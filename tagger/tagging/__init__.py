"""Tagging: sentences in, the same sentences out with tags and spans."""

from tagger.tagging.decoding import TAGS_ONLY, DecodingOptions
from tagger.tagging.tagger import EncodedPool, Tagger, load

__all__ = ["TAGS_ONLY", "DecodingOptions", "EncodedPool", "Tagger", "load"]
