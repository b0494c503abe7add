"""Tagging: sentences in, the same sentences out with tags and spans."""

from tagger.tagging.decoding import DecodingOptions
from tagger.tagging.tagger import Tagger, load

__all__ = ["DecodingOptions", "Tagger", "load"]
