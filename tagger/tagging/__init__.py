"""Tagging: sentences in, the same sentences out with tags and spans.

The public names load on first use, so that modules without torch can be imported alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["TAGS_ONLY", "DecodingOptions", "EncodedPool", "Tagger", "load"]

if TYPE_CHECKING:
    from tagger.tagging.decoding import TAGS_ONLY, DecodingOptions
    from tagger.tagging.tagger import EncodedPool, Tagger, load

_MODULES = {
    "TAGS_ONLY": "tagger.tagging.decoding",
    "DecodingOptions": "tagger.tagging.decoding",
    "EncodedPool": "tagger.tagging.tagger",
    "Tagger": "tagger.tagging.tagger",
    "load": "tagger.tagging.tagger",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'tagger.tagging' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)
