"""A BiLSTM-CRF sequence-labelling toolkit.

The public names load on first use, so that importing the package costs nothing:

>>> import tagger
>>> tagger.Sentence(("Hello", "world")).tokens
('Hello', 'world')
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["Sentence", "Span", "Tagger", "TaggerError", "__version__", "load"]

TYPE_CHECKING = False  # as typing has it; with `python -m tagger`, typing may lie in the current directory
if TYPE_CHECKING:
    from tagger.data.sentence import Sentence, Span
    from tagger.errors import TaggerError
    from tagger.tagging import Tagger, load

_HOMES = {
    "Sentence": "tagger.data.sentence",
    "Span": "tagger.data.sentence",
    "Tagger": "tagger.tagging",
    "TaggerError": "tagger.errors",
    "load": "tagger.tagging",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tagger' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
