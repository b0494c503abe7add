"""The parts of a corpus, and where their sentences and tokens are in their files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tagger.data import schemes
from tagger.data.corpus import Corpus
from tagger.data.formats.reading import shorten
from tagger.data.schemes import Detected
from tagger.data.sentence import Sentence, Span

_MAX_TEXT = 100  # characters of a sentence in a finding


class Located(NamedTuple):
    """A sentence, its file and the role of its part."""

    role: str
    corpus: Corpus
    sentence: Sentence

    def locate(self, position: int = 0) -> str:
        """Returns file and line of a token; of the last token if the position is the length of the sentence."""
        return self.corpus.locate(self.sentence, min(position, len(self.sentence) - 1))

    @property
    def text(self) -> str:
        """The sentence's text, shortened."""
        return shorten(self.sentence.text, _MAX_TEXT)


@dataclass(frozen=True)
class Part:
    """The training, dev or test data: one or several files.

    Attributes:
        role: train, dev or test.
        corpora: the sentences of each file.
    """

    role: str
    corpora: tuple[Corpus, ...]

    def __iter__(self) -> Iterator[Located]:
        return (Located(self.role, corpus, each) for corpus in self.corpora for each in corpus.sentences)

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences of all files."""
        return tuple(sentence for corpus in self.corpora for sentence in corpus.sentences)

    @cached_property
    def documents(self) -> dict[tuple[str, int], list[Located]]:
        """The sentences by document; the key is the name of the file and the number of the document in it."""
        documents: dict[tuple[str, int], list[Located]] = {}
        for located in self:
            documents.setdefault((located.corpus.name, located.sentence.document), []).append(located)
        return documents

    @cached_property
    def words(self) -> Counter[str]:
        """The number of tokens of each distinct word."""
        return Counter(token for sentence in self.sentences for token in sentence.tokens)

    @cached_property
    def tags(self) -> Counter[str]:
        """The number of tokens with each known tag, the most frequent first."""
        counts = Counter(tag for sentence in self.sentences for tag in sentence.tags if tag != schemes.UNKNOWN)
        return Counter(dict(counts.most_common()))

    @cached_property
    def detected(self) -> Detected:
        """The scheme of the tags."""
        return schemes.detect([sentence.tags for sentence in self.sentences])

    @property
    def only_outside(self) -> bool:
        """Whether every tag is O, so that spans and plain tags cannot be told apart."""
        return self.tags.keys() == {schemes.OUTSIDE}

    @cached_property
    def spans(self) -> tuple[tuple[Located, Span], ...]:
        """Each span with its sentence; none for plain tags."""
        if self.detected.scheme is None:
            return ()
        return tuple((located, span) for located in self for span in schemes.tags_to_spans(located.sentence.tags))

    @cached_property
    def types(self) -> Counter[str]:
        """The number of spans of each type, the most frequent first; empty for plain tags."""
        counts = Counter(span.type for _, span in self.spans)
        return Counter(dict(counts.most_common()))
