"""The sentence: what every reader yields, every tagger returns and every writer takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """An entity of a type over the tokens [start, end) of its sentence."""

    type: str
    start: int
    end: int


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
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    document: int = 0
    line: int = 0
    raw: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)
