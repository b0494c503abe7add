"""The sentence, which every tagger takes and returns, and the record, the unit that files are read and written in."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from tagger.data.highlighting import Attributes, Mark, highlight, inline_attributes, notebook_block


class SourceText(NamedTuple):
    """The text that a tokenizer split into sentences.

    Attributes:
        text: the text, of one paragraph or of a whole document.
        start: the offset of its first character in the document, in code points.
        has_tags: whether the tokens and their tags are from the source, not from a tokenizer and annotated spans.
    """

    text: str
    start: int = 0
    has_tags: bool = False


class _Context(NamedTuple):
    """What a span needs of its sentence. A reference to the sentence itself would be a cycle, slow to free."""

    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    source: SourceText | None

    def slice(self, start: int, end: int) -> str:
        """Returns the text of the tokens [start, end): as in the source, else the tokens joined by spaces."""
        if self.source is None or not self.offsets or start == end:
            return " ".join(self.tokens[start:end])
        text, shift = self.source.text, self.source.start
        return text[self.offsets[start][0] - shift : self.offsets[end - 1][1] - shift]


@dataclass(frozen=True, slots=True)
class Span:
    """An entity over the tokens [start, end) of a sentence.

    A sentence binds its spans to its tokens: `sentence.spans[0].text`. Equality ignores the sentence.

    >>> Sentence(("in", "New", "York"), spans=(Span("LOC", 1, 3),)).spans[0].text
    'New York'

    Attributes:
        type: the entity's type, such as PER.
        start: the index of the first token.
        end: the index after the last token.
        probability: the span's probability, in [0, 1]; None if it was not asked for.
    """

    type: str
    start: int
    end: int
    probability: float | None = None
    _context: _Context | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The span's text as in its source, or its tokens joined by spaces where the sentence has no source text.

        Raises:
            ValueError: the span belongs to no sentence.
        """
        if self._context is None:
            raise ValueError("the span belongs to no sentence; take it from Sentence.spans")
        return self._context.slice(self.start, self.end)

    @property
    def key(self) -> tuple[str, int, int]:
        """Type and bounds, which spans of different probability may share."""
        return self.type, self.start, self.end

    @property
    def start_char(self) -> int | None:
        """The offset of the span's first character in its document, in code points; None without offsets."""
        return self._context.offsets[self.start][0] if self._context and self._context.offsets else None

    @property
    def end_char(self) -> int | None:
        """The offset after the span's last character in its document, in code points; None without offsets."""
        return self._context.offsets[self.end - 1][1] if self._context and self._context.offsets else None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the most probable tag sequences of a sentence, with its probability."""

    tags: tuple[str, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens, with tags and spans where they are known.

    Attributes:
        tokens: the words; none for an empty line, or for lines of a file without a sentence.
        tags: one per token, in the scheme of their source, empty text where the tag is unknown; or empty.
        spans: the entities that the tags encode; empty for plain tags such as parts of speech.
        document: the number of the sentence's document in its source, from 0.
        line: the line number of the sentence's first token in its source, from 1; 0 if it comes from no file.
        record: the number of its record, from 1, where several records share a line; else 0.
        raw: the lines that it was read from, with line ends, to write it back unchanged.
        offsets: start and end of each token in its document, in code points; empty where the source has only tokens.
        source: the text that the tokens were split from; None where the source has only tokens.
        probabilities: one per token: of its tag or, within a span, of the span; empty if not asked for.
        alternatives: the most probable tag sequences, in falling order; empty if not asked for.
        annotated_types: the types of spans that its gold tags were annotated for; None for all.
        candidate_probabilities: one per span, or plain tag, of the sentence that was tagged, such as its gold spans;
            None for a span that windows cut or a type that the model lacks; empty if not asked for.
        uncertainty: a sum over its tokens, of the kind that was asked for; see `tagger.tagging.uncertainty`.

    Raises:
        TypeError: `tokens` is a text.
        ValueError: there are tags, but not one for each token.
    """

    tokens: tuple[str, ...]
    _: KW_ONLY
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    document: int = 0
    line: int = 0
    record: int = 0
    raw: tuple[str, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    source: SourceText | None = field(default=None, repr=False, compare=False)
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    annotated_types: tuple[str, ...] | None = None
    candidate_probabilities: tuple[float | None, ...] = ()
    uncertainty: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str):
            raise TypeError("tokens must be words, got a text; split it, or pass it to Tagger.tag_text")
        if self.tags and len(self.tags) != len(self.tokens):
            raise ValueError(f"expected a tag for each of {len(self.tokens)} tokens, got {len(self.tags)} tags")
        if self.spans:
            attach_spans(self, tuple([Span(span.type, span.start, span.end, span.probability) for span in self.spans]))

    def __len__(self) -> int:
        return len(self.tokens)

    def __reduce__(self) -> tuple[Callable[..., "Sentence"], tuple[Any, ...]]:
        """Returns the values of all slots: pickling takes half the time of that of a dataclass."""
        return _restore_sentence, _get_sentence_slots(self)

    @property
    def text(self) -> str:
        """The sentence's text as in its source, or its tokens joined by spaces where it has no source text."""
        return self.slice(0, len(self.tokens))

    @property
    def has_annotated_text(self) -> bool:
        """Whether its tags are those of annotated spans of a text."""
        return self.source is not None and not self.source.has_tags

    def slice(self, start: int, end: int) -> str:
        """Returns the text of the tokens [start, end), as `text` does for all."""
        return _Context(self.tokens, self.offsets, self.source).slice(start, end)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields of a line of JSON output that holds this sentence alone (see `tagger.data.writer`).

        >>> Sentence(("in", "York"), tags=("O", "B-LOC"), spans=(Span("LOC", 1, 2),)).to_dict()["spans"]
        [{'type': 'LOC', 'start': 1, 'end': 2, 'text': 'York'}]
        """
        record = Record((self,), text=self.text if self.offsets else None)
        wanted = {"probabilities": bool(self.probabilities), "alternatives": bool(self.alternatives)}
        return {"document": self.document} | record.to_dict(**wanted)

    def token_bounds(self) -> tuple[tuple[int, int], ...]:
        """Returns start and end of each token in `text`."""
        if self.source is not None and self.offsets:
            first = self.offsets[0][0]
            return tuple((start - first, end - first) for start, end in self.offsets)
        starts = accumulate((len(token) + 1 for token in self.tokens), initial=0)
        return tuple((start, start + len(token)) for start, token in zip(starts, self.tokens, strict=False))

    def highlight(self, attributes: Attributes) -> str:
        """Returns the HTML of the sentence's text with its entities highlighted; see `highlighting.highlight`."""
        bounds = self.token_bounds()
        marks = [
            Mark(bounds[span.start][0], bounds[span.end - 1][1], span.type, span.probability) for span in self.spans
        ]
        return "".join(highlight(self.text, marks, attributes))

    def _repr_html_(self) -> str:
        """Returns the sentence with its entities highlighted, for notebooks."""
        return notebook_block(self.highlight(inline_attributes))


_set_context = vars(Span)["_context"].__set__  # the slots' descriptors: both classes are frozen
_set_spans = vars(Sentence)["spans"].__set__
_set_document = vars(Sentence)["document"].__set__


def attach_spans(sentence: Sentence, spans: tuple[Span, ...]) -> None:
    """Makes spans those of a new sentence, without the copies that `Sentence(...)` makes of them.

    Args:
        sentence: a sentence without spans that no other thread has seen.
        spans: spans that belong to no sentence and are used nowhere else.
    """
    context = _Context(sentence.tokens, sentence.offsets, sentence.source)
    for span in spans:
        _set_context(span, context)
    _set_spans(sentence, spans)


def assign_document(sentence: Sentence, document: int) -> None:
    """Changes the document number of a new sentence that no other thread has seen, without a copy."""
    _set_document(sentence, document)


@dataclass(frozen=True, slots=True)
class Record:
    """The unit of reading and writing: a sentence of a corpus, a paragraph of a text, a row of a table.

    Attributes:
        sentences: its sentences, in order; lines of a file without tokens are a sentence without tokens.
        document: the id of its document from the source, else the document's number from 0.
        line: the number of its first line, or of its row, in the source, from 1.
        text: the text that its sentences were split from; None where the source has tokens.
        start: the offset of the text in its document, in code points.
        fields: the other fields of the source by name, to be written with it.
        numbered: whether the document's id is only its number, because the source has no id for it.
        size: the approximate size of the source that the record holds in memory, in characters or bytes.
        starts_document: whether it is the first record of a text of several records.
    """

    sentences: tuple[Sentence, ...]
    document: str | int = 0
    line: int = 0
    text: str | None = None
    start: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    numbered: bool = False
    size: int = 0
    starts_document: bool = False

    def __reduce__(self) -> tuple[Callable[..., "Record"], tuple[Any, ...]]:
        """Returns the values of all slots: pickling takes half the time of that of a dataclass."""
        return _restore_record, _get_record_slots(self)

    @property
    def token_count(self) -> int:
        """The number of tokens of all sentences."""
        sentences = self.sentences
        if len(sentences) == 1:
            return len(sentences[0].tokens)
        return sum([len(sentence.tokens) for sentence in sentences])

    def to_dict(
        self, *, ranges: bool = False, probabilities: bool = False, alternatives: bool = False
    ) -> dict[str, Any]:
        """Returns the fields that tagging adds to a record, in the order in which they are written.

        `tokens` and `tags` hold those of all sentences. See `spans_to_dicts` for `spans`.

        Args:
            ranges: whether to add `sentences`, the first token of each sentence and the one after its last.
            probabilities: whether to add those of tokens and spans.
            alternatives: whether to add those of each sentence.
        """
        sentences = self.sentences
        row: dict[str, Any] = {
            "tokens": list(chain.from_iterable(sentence.tokens for sentence in sentences)),
            "tags": list(chain.from_iterable(sentence.tags for sentence in sentences)),
            "spans": self.spans_to_dicts(probabilities=probabilities),
        }
        if self.text is not None:
            row["offsets"] = list(chain.from_iterable(sentence.offsets for sentence in sentences))
        if ranges:
            row["sentences"] = list(pairwise(accumulate(map(len, sentences), initial=0)))
        if probabilities:
            row["probabilities"] = list(chain.from_iterable(sentence.probabilities for sentence in sentences))
        if alternatives:
            row["alternatives"] = [
                [{"tags": each.tags, "probability": each.probability} for each in sentence.alternatives]
                for sentence in sentences
            ]
        return row

    def spans_to_dicts(self, *, probabilities: bool) -> list[dict[str, Any]]:
        """Returns type, start, end, text and perhaps probability of each span.

        Start and end are character offsets where the record has a text, else token indices over all its sentences.
        """
        spans: list[dict[str, Any]] = []
        first = 0  # the index of the sentence's first token
        for sentence in self.sentences:
            for span in sentence.spans:
                if self.text is None:
                    start, end = first + span.start, first + span.end
                else:
                    start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
                spans.append({"type": span.type, "start": start, "end": end, "text": span.text})
                if probabilities:
                    spans[-1]["probability"] = span.probability
            first += len(sentence)
        return spans


_set_sentences = vars(Record)["sentences"].__set__


def assign_sentences(record: Record, sentences: tuple[Sentence, ...]) -> None:
    """Changes the sentences of a record that no other thread has seen, without a copy."""
    _set_sentences(record, sentences)


_Slotted = TypeVar("_Slotted", Sentence, Record)


def _restorer(kind: type[_Slotted]) -> Callable[..., _Slotted]:
    """Returns a function that makes an object from the values of its slots."""
    setters = [vars(kind)[name].__set__ for name in kind.__slots__]

    def restore(*values: Any) -> _Slotted:
        restored = object.__new__(kind)
        for setter, value in zip(setters, values, strict=True):
            setter(restored, value)
        return restored

    return restore


_get_sentence_slots, _get_record_slots = attrgetter(*Sentence.__slots__), attrgetter(*Record.__slots__)
_restore_sentence, _restore_record = _restorer(Sentence), _restorer(Record)
_restore_sentence.__qualname__, _restore_record.__qualname__ = "_restore_sentence", "_restore_record"  # for pickle


@dataclass(frozen=True, slots=True)
class Reject:
    """Lines of a source that could not be read, and the fault, with its file and line.

    In the lines, lone surrogates stand for bytes that are not UTF-8, as with Python's `surrogateescape`.
    """

    fault: str
    line: int
    raw: str
