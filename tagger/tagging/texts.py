"""Splitting of texts into sentences for tagging, as files of raw text are split."""

from collections.abc import Iterable
from dataclasses import replace
from io import StringIO

from tagger.data.document_context import PassageNumbering
from tagger.data.formats import text as text_format
from tagger.data.sentence import Record, Sentence

_CHARACTERS_PER_TOKEN = 1 << 11  # so that a passage of few tokens in much text ends, too


def passage_tokens(record: Record) -> int:
    """Returns the number of tokens that a record counts towards the size of its passage."""
    return max(sum(map(len, record.sentences)), record.size // _CHARACTERS_PER_TOKEN)


def split_texts(texts: Iterable[str], language: str) -> list[tuple[str, list[Sentence]]]:
    """Returns each text with its sentences, whose `document` is the number of their passage over all texts.

    Raises:
        TypeError: a text is not a string.
        ConfigError: spaCy is missing or does not know the language.
    """
    passages, split = PassageNumbering(), []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"a text is a string, got {text!r}")
        sentences: list[Sentence] = []
        # StringIO ends lines at "\n" alone, as for files: offsets count every character.
        for record in text_format.read(enumerate(StringIO(text, newline="\n"), 1), "", language):
            passage = passages.assign(number, passage_tokens(record))
            sentences += [replace(sentence, document=passage) for sentence in record.sentences]
        split.append((text, sentences))
    return split
