"""Conversion of what users pass to `Tagger.tag` into sentences."""

from collections.abc import Iterable, Mapping, Set

from tagger.data.formats.lines import words
from tagger.data.sentence import Sentence


def to_sentence(value: str | Iterable[str] | Sentence, document: int) -> Sentence:
    """Returns a sentence: a Sentence as it is, a string split at spaces and tabs, anything else as tokens.

    Args:
        value: a Sentence, a string or tokens.
        document: the document number of a sentence made from a string or tokens.

    Raises:
        TypeError: the value is not a sentence, or a token is not a string.
        ValueError: a token is empty.
    """
    if isinstance(value, str):
        sentence = Sentence(words(value), document=document)
    elif isinstance(value, Sentence):
        sentence = value
    elif isinstance(value, bytes | Set | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"a sentence is a string or a list of tokens, got {value!r}")
    else:
        sentence = Sentence(tuple(value), document=document)
    for token in sentence.tokens:
        if not isinstance(token, str):
            raise TypeError(f"a token is a string, got {token!r}")
    if not all(sentence.tokens):
        raise ValueError(f"a token of {sentence.tokens!r} is empty")
    return sentence
