"""The document: a text with its tagged sentences, for Python and notebooks."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from tagger.data.highlighting import Mark, highlight, inline_attributes, notebook_block
from tagger.data.sentence import Record, Sentence, Span


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its tagged sentences.

    >>> text = "Ada ran."
    >>> spans, offsets = (Span("PER", 0, 1),), ((0, 3), (4, 7), (7, 8))
    >>> document = Document(text, (Sentence(("Ada", "ran", "."), spans=spans, offsets=offsets),))
    >>> [(span.type, span.start_char, span.end_char) for span in document.spans]
    [('PER', 0, 3)]

    Attributes:
        text: the text.
        sentences: the sentences of the text, each with at least one token; their `offsets` are offsets into the text,
            in code points.
    """

    text: str
    sentences: tuple[Sentence, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The entities of all sentences, in order.

        `start_char` and `end_char` are offsets into the text; `start` and `end` are token indices in the sentence.
        """
        return tuple(chain.from_iterable(sentence.spans for sentence in self.sentences))

    def to_dict(self) -> dict[str, Any]:
        """Returns the text and, as in JSON output, `tokens`, `tags`, `spans`, `offsets` and `sentences`.

        `spans` holds type, start, end and text of each entity, start and end as offsets into the text. `probabilities`
        and `alternatives` are present if the sentences have them.
        """
        added = Record(self.sentences, text=self.text).to_dict(
            ranges=True,
            probabilities=any(sentence.probabilities for sentence in self.sentences),
            alternatives=any(sentence.alternatives for sentence in self.sentences),
        )
        return {"text": self.text} | added

    def _repr_html_(self) -> str:
        """Returns the text with its entities highlighted, for notebooks."""
        marks = [
            Mark(sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1], span.type, span.probability)
            for sentence in self.sentences
            for span in sentence.spans
        ]
        return notebook_block("".join(highlight(self.text, marks, inline_attributes)))
