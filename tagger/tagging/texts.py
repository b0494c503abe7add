"""Splitting of texts into sentences for tagging, as files of raw text are split."""

import logging
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from itertools import islice

from tagger.choices import Newline
from tagger.data.document import Document
from tagger.data.document_context import PassageNumbering
from tagger.data.formats import spacy_library
from tagger.data.formats import text as text_format
from tagger.data.sentence import Record, Sentence, assign_document

log = logging.getLogger(__name__)

_CHARACTERS_PER_TOKEN = 1 << 11  # so that a passage of few tokens in much text ends, too


def passage_tokens(record: Record) -> int:
    """Returns the number of tokens that a record counts towards the size of its passage."""
    return max(record.token_count, record.size // _CHARACTERS_PER_TOKEN)


def check_tokenizer(trained: str | None, language: str) -> None:
    """Logs a line if texts are split by another tokenizer than those that a model was trained on.

    Args:
        trained: the tokenizer in the config of the model; None if it was trained on tokens.
        language: the language of the texts.
    """
    present = spacy_library.describe_tokenizer(language)
    if trained is not None and present is not None and trained != present:
        log.warning("texts are split by the tokenizer %s; the model was trained on texts split by %s", present, trained)


def split_texts(texts: Iterable[str], language: str, newline: Newline = "break") -> list[tuple[str, list[Sentence]]]:
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
        for record in text_format.read(enumerate(StringIO(text, newline="\n"), 1), "", language, newline=newline):
            passage = passages.assign(number, passage_tokens(record))
            for sentence in record.sentences:
                assign_document(sentence, passage)
            sentences += record.sentences
        split.append((text, sentences))
    return split


def tag_texts(
    texts: Iterable[str],
    language: str,
    newline: Newline,
    tag: Callable[[Iterator[Sentence]], Iterator[Sentence]],
) -> list[Document]:
    """Returns the document of each text, split and tagged.

    Args:
        texts: the texts.
        language: the language of the texts.
        newline: whether a newline ends a sentence.
        tag: yields the sentences of all texts, tagged, which nothing else refers to.

    Raises:
        TypeError: a text is not a string.
        ConfigError: spaCy is missing or does not know the language.
    """
    split = split_texts(texts, language, newline)
    tagged = tag(sentence for _, sentences in split for sentence in sentences)
    documents = []
    for number, (text, sentences) in enumerate(split):
        documents.append(Document(text, tuple(islice(tagged, len(sentences)))))
        for sentence in documents[-1].sentences:
            assign_document(sentence, number)
    return documents
