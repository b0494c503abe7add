"""Notices about data that can be read but is probably not what it seems."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tagger.data import schemes, stored_sentences, tag_formats
from tagger.data.corpus import Corpus
from tagger.data.schemes import OUTSIDE
from tagger.data.sentence import Sentence
from tagger.data.stored_sentences import StoredSentences

MAX_USUAL_TOKENS = 2000
"""Tokens of a sentence above which sentences seem not to be separated."""
_EMPTY = "_"
_MAX_LISTED = 10


def find_suspicions(corpus: Corpus) -> Iterator[str]:
    """Yields a notice, with file and line, for each suspicious property of a corpus.

    A sentence is very long; two tags look the same; the tag `_`, an empty field of CoNLL-U, stands among others.

    Args:
        corpus: the corpus, with tags as read.
    """
    sentences = corpus.sentences
    longest = _find_longest(sentences)
    if len(longest) > MAX_USUAL_TOKENS:
        fault = f"a sentence of {len(longest):,} tokens; are sentences separated by blank lines?"
        yield f"{corpus.locate(longest)}: {fault}"
    counts = schemes.count_tags(stored_sentences.count_pairs(sentences))
    yield from _find_lookalikes(corpus, counts)
    if 0 < counts[_EMPTY] < counts.total():
        described = f"{counts[_EMPTY]:,} of {counts.total():,} tokens have the tag '{_EMPTY}'"
        advice = "if they were not annotated, set data.unknown_tag to '_'"
        yield f"{corpus.locate_tag(_EMPTY)}: {described}, which marks an empty field; {advice}"


def _find_longest(sentences: Sequence[Sentence]) -> Sentence:
    if isinstance(sentences, StoredSentences):
        return sentences[int(sentences.lengths.argmax())]
    return max(sentences, key=len)


def _find_lookalikes(corpus: Corpus, counts: Counter[str]) -> Iterator[str]:
    """Yields a notice for each tag that looks like a more frequent one, at most ten."""
    first: dict[str, str] = {}
    pairs = []
    for tag in sorted(counts, key=lambda tag: (tag != OUTSIDE, -counts[tag], tag)):
        known = first.setdefault(tag_formats.skeleton(tag), tag)
        if known != tag:
            pairs.append((tag, known))
    for tag, known in pairs[:_MAX_LISTED]:
        described = f"the tags {tag_formats.describe_tag(tag)} and {tag_formats.describe_tag(known)} look the same"
        yield f"{corpus.locate_tag(tag)}: {described}"
    if len(pairs) > _MAX_LISTED:
        yield f"{corpus.name}: … and {len(pairs) - _MAX_LISTED} more tags that look like others"
