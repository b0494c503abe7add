"""The sentence, which every tagger takes and returns, and the record of them that is read and written as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a type over the tokens [start, end) of its sentence, with its probability if that was asked for."""

    type: str
    start: int
    end: int
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the most probable ways to tag a sentence, with its probability."""

    tags: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens, with tags and spans where they are known.

    Attributes:
        tokens: the words; none for an empty line, or for lines of a file that hold no sentence.
        tags: one for each token, in the scheme of their source, or empty.
        spans: the entities that the tags spell; empty for plain tags such as parts of speech.
        document: the number of the sentence's document in its source, from 0.
        line: the line of its source where the sentence's first token stands, from 1; 0 if it comes from no file.
        raw: the lines it was read from, line ends included, so that it can be written back as it was.
        offsets: where each token starts and ends in its text, in code points; empty where tokens come without a text.
        probabilities: for each token that of its tag or, within a span, that of the span; empty if not asked for.
        alternatives: the most probable ways to tag the sentence, the most probable first; empty if not asked for.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    document: int = 0
    line: int = 0
    raw: tuple[str, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Record:
    """What is read and written as one: a sentence of a corpus, a paragraph of a text, a row of a table.

    Attributes:
        sentences: its sentences, in order; those of a file's lines without tokens have none.
        document: the id of the document it belongs to: what the source says, else a number from 0.
        line: the line, or the row, of its source where it begins, from 1.
        text: what it was tokenised from; None where the source has tokens.
        start: the place of the text in the text that offsets count in, in code points.
        fields: what else the source says of it, by name, to be written with it.
        numbered: whether the document's id is only its number, because the source has none for it.
        size: the characters, or bytes, of the source that the record holds in memory, about.
    """

    sentences: tuple[Sentence, ...]
    document: str | int = 0
    line: int = 0
    text: str | None = None
    start: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Reject:
    """What of a source could not be read: the fault with its file and line, and the lines themselves.

    In the lines, lone surrogates stand for bytes that are not UTF-8, as Python's `surrogateescape` has it.
    """

    fault: str
    line: int
    raw: str
