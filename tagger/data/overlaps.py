"""Finds documents of one part of the data that are, completely or in large part, in another part too."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences

SHARED_FRACTION = 0.5
"""Documents share a text if at least this fraction of the tokens of one is in sentences of the other."""
_MIN_SENTENCE = 5  # tokens: shorter sentences, such as place and date, say nothing about documents
_MIN_DOCUMENT = 20  # tokens in longer sentences
_MAX_DOCUMENTS = 20  # a sentence of more documents says nothing about them

Document = Sequence[Sentence]


class SharedDocument(NamedTuple):
    """A document that shares a text with a document of an earlier part.

    Attributes:
        document: the numbers of its part and, in the part, of the document.
        other: likewise of the other document.
        fraction: the fraction of its tokens, in sentences that are not short, which are in the other one too.
    """

    document: tuple[int, int]
    other: tuple[int, int]
    fraction: float


def group_by_document(sentences: Sequence[Sentence]) -> list[Document]:
    """Returns the documents of a file."""
    documents: dict[int, list[Sentence]] = {}
    for sentence in sentences:
        documents.setdefault(sentence.document, []).append(sentence)
    return list(documents.values())


def find_shared_sentences(sentences: Sequence[Sentence], later: Iterable[Sentence]) -> Sequence[Sentence]:
    """Returns the sentences of an early part of the data that may share a text with those of later parts.

    All other sentences of stored ones, which may exceed the memory, are left out.
    """
    if not isinstance(sentences, StoredSentences):
        return sentences
    wanted = {sentence.tokens for sentence in later if len(sentence) >= _MIN_SENTENCE}
    return sentences.find(wanted, limit=_MAX_DOCUMENTS + 1)


def find_shared_documents(parts: Sequence[Sequence[Document]]) -> Iterator[SharedDocument]:
    """Yields the documents, of at least two sentences, that share a text with a document of an earlier part."""
    occurrences: dict[tuple[str, ...], dict[tuple[int, int], None]] = {}
    for part, documents in enumerate(parts):
        for number, document in enumerate(documents):
            sentences = [sentence.tokens for sentence in document if len(sentence) >= _MIN_SENTENCE]
            total = sum(map(len, sentences))
            if len(document) > 1 and total >= _MIN_DOCUMENT and part:
                yield from _find_other(sentences, total, (part, number), occurrences)
            for tokens in sentences:
                occurrences.setdefault(tokens, {})[part, number] = None


def _find_other(
    sentences: Sequence[tuple[str, ...]],
    total: int,
    document: tuple[int, int],
    occurrences: dict[tuple[str, ...], dict[tuple[int, int], None]],
) -> Iterator[SharedDocument]:
    counts: Counter[tuple[int, int]] = Counter()
    for tokens in sentences:
        earlier = [other for other in occurrences.get(tokens, ()) if other[0] < document[0]]
        if len(earlier) <= _MAX_DOCUMENTS:
            counts.update(dict.fromkeys(earlier, len(tokens)))
    for other, count in counts.most_common(1):
        if count >= SHARED_FRACTION * total:
            yield SharedDocument(document, other, count / total)
