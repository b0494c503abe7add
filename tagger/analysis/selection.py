"""Selects the most uncertain sentences or documents for annotation, without near-duplicates.

The input is read once. Memory holds the most uncertain candidates, four for each that is asked for and a thousand more;
the trigrams of the sentences that were seen; and, if documents are selected, the document that is being read.
"""

import heapq
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from tagger import streams
from tagger.analysis import similarity
from tagger.analysis.similarity import SimilarityIndex
from tagger.choices import SelectionUnit, Uncertainty, counted
from tagger.data import conversion
from tagger.data.formats.reading import shorten
from tagger.data.sentence import Record, Sentence, SourceText, Span
from tagger.errors import ConfigError
from tagger.jobs.inputs import Input
from tagger.tagging import uncertainty

log = logging.getLogger(__name__)

_CANDIDATES_PER_ITEM, _SPARE_CANDIDATES = 4, 1000
_MAX_LISTED = 10
_MAX_TEXT = 60


@dataclass(frozen=True)
class SelectionOptions:
    """What is selected.

    Attributes:
        count: the number of sentences or documents.
        by: the measure of uncertainty; see `tagger.tagging.uncertainty`.
        unit: sentence or document.
        similarity: the Jaccard similarity of trigrams from which an item is a near-duplicate of another.

    Raises:
        ConfigError: the count is below 1, or the similarity is not above 0 and at most 1.
    """

    count: int
    by: Uncertainty = "errors"
    unit: SelectionUnit = "sentence"
    similarity: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"`count` must be at least 1, got {self.count}")
        if not 0 < self.similarity <= 1:
            raise ConfigError(f"`similarity` must be above 0 and at most 1, got {self.similarity}")


@dataclass(frozen=True)
class SelectedItem:
    """A sentence or document to annotate, tagged by the model.

    Attributes:
        score: its uncertainty; the higher, the more uncertain.
        text: its text as in the source; tokens are joined by one space, or as SpaceAfter in CoNLL-U says, and sentences
            of tokens by a newline.
        sentences: its sentences with tags and spans; their offsets are those in `text`.
        is_tokenized: whether the source has tokens.
        file: the file that it is from.
        line: the number of its first line, or of its row, from 1.
        document: the id of its document; without an id, the file and the number of the document from 0.
        has_spans: whether the model predicts spans; if not, each token counts as a span whose type is its tag.
    """

    score: float
    text: str
    sentences: tuple[Sentence, ...]
    is_tokenized: bool
    file: str
    line: int
    document: str | int
    has_spans: bool = True

    def location(self) -> dict[str, Any]:
        """Returns score, file, line and document."""
        return {"score": round(self.score, 6), "file": self.file, "line": self.line, "document": self.document}

    def spans(self) -> list[dict[str, Any]]:
        """Returns type, start, end, text and probability of each span; start and end are offsets in `text`."""
        sentences = self.sentences if self.has_spans else tuple(map(_with_token_spans, self.sentences))
        return Record(sentences, text=self.text).spans_to_dicts(probabilities=True)


def _with_token_spans(sentence: Sentence) -> Sentence:
    """Returns a sentence with a span for each token, of the type of its plain tag."""
    probabilities = sentence.probabilities or (None,) * len(sentence)
    rows = enumerate(zip(sentence.tags, probabilities, strict=True))
    spans = tuple(Span(tag, number, number + 1, probability) for number, (tag, probability) in rows)
    return replace(sentence, spans=spans)


@dataclass(frozen=True)
class SelectionResult:
    """What was selected, most uncertain first.

    Attributes:
        items: the sentences or documents.
        options: the options of the selection.
        units: the number of sentences or documents that were read.
        tokens: the number of their tokens.
        duplicates: the number of candidates that were skipped as near-duplicates of more uncertain ones.
        seen: the number of candidates that were skipped as near-duplicates of sentences or documents that were seen.
    """

    items: tuple[SelectedItem, ...]
    options: SelectionOptions
    units: int
    tokens: int
    duplicates: int
    seen: int

    def to_json(self) -> dict[str, Any]:
        """Returns the figures, and of each item the score, the location, the text and the spans."""
        names = ("units", "tokens", "duplicates", "seen")
        figures = {name: getattr(self, name) for name in names}
        items = [item.location() | {"text": item.text, "spans": item.spans()} for item in self.items]
        return vars(self.options) | figures | {"items": items}

    def __str__(self) -> str:
        lines = [
            f"selected {len(self.items):,} of {counted(self.units, self.options.unit)} by {self.options.by};"
            f" skipped {counted(self.duplicates, 'near-duplicate')} and {self.seen:,} similar to seen data"
        ]
        if self.items:
            lines += ["", f"{self.options.by:<18}text"]
        for item in self.items[:_MAX_LISTED]:
            where = streams.escape_line(f"{item.file}:{item.line}")
            lines.append(f"{item.score:<18.4f}{shorten(streams.escape_line(item.text), _MAX_TEXT)}  ({where})")
        return "\n".join(lines)


def select(
    records: Iterable[tuple[Input, Record]], options: SelectionOptions, seen: Iterable[tuple[Input, Record]] = ()
) -> SelectionResult:
    """Returns the most uncertain sentences or documents, without near-duplicates.

    From the most uncertain item on, each is selected unless it is similar to one that is selected already, or to one
    that was seen. Of equal scores the first wins. The result is short if near-duplicates fill the memory; a log message
    says so.

    Args:
        records: tagged records with their inputs; their sentences have the uncertainty `options.by`.
        options: what is selected.
        seen: records that are annotated already.
    """
    seen_index = SimilarityIndex(options.similarity)
    for unit in _split_units(seen, options.unit):
        seen_index.add(similarity.describe([sentence.tokens for sentence in unit.sentences])[1])
    pool = _CandidatePool(_CANDIDATES_PER_ITEM * options.count + _SPARE_CANDIDATES, seen_index)
    units = tokens = 0
    for unit in _split_units(records, options.unit):
        size = sum(map(len, unit.sentences))
        total = sum(sentence.uncertainty or 0.0 for sentence in unit.sentences)
        pool.add(uncertainty.score(options.by, total, size), unit)
        units, tokens = units + 1, tokens + size
    items, duplicates = pool.select(options)
    return SelectionResult(tuple(items), options, units, tokens, duplicates, pool.seen)


class _Unit(NamedTuple):
    """A sentence or document: its input, its records, and the sentences of them that it consists of."""

    input: Input
    records: Sequence[Record]
    sentences: Sequence[Sentence]


def _split_units(records: Iterable[tuple[Input, Record]], unit: SelectionUnit) -> Iterator[_Unit]:
    """Yields the sentences or documents of records that have tokens."""
    if unit == "sentence":
        for item, record in records:
            yield from (_Unit(item, (record,), (sentence,)) for sentence in record.sentences if sentence.tokens)
        return
    for (item, _), group in groupby(records, lambda pair: (pair[0], pair[1].document)):
        document = [record for _, record in group]
        if sentences := [each for record in document for each in record.sentences if each.tokens]:
            yield _Unit(item, document, sentences)


class _Candidate(NamedTuple):
    """An item that may be selected, its number in the order of the input, and its trigrams."""

    item: SelectedItem
    number: int
    trigrams: frozenset[int]

    @property
    def rank(self) -> tuple[float, int]:
        """The key by which candidates are ordered, the least uncertain first."""
        return self.item.score, -self.number


class _CandidatePool:
    """The most uncertain candidates so far. Of candidates with the same normalized tokens one is stored.

    Args:
        capacity: the maximum number of candidates.
        seen: the trigrams of what is annotated already.

    Attributes:
        seen: the number of candidates that were skipped because they are similar to what is annotated already.
    """

    def __init__(self, capacity: int, seen: SimilarityIndex) -> None:
        self._capacity, self._seen_index = capacity, seen
        self._candidates: dict[int, _Candidate] = {}  # by the hash of the normalized tokens
        self._heap: list[tuple[tuple[float, int], int]] = []  # ranks and hashes, also of candidates that were replaced
        self._number = self._equal = 0
        self._has_evicted = False
        self.seen = 0

    def add(self, score: float, unit: _Unit) -> None:
        """Adds a unit, unless it is less uncertain than all candidates, or similar to what was seen."""
        self._number += 1
        rank = score, -self._number
        if len(self._candidates) == self._capacity and rank < self._heap[0][0]:
            self._has_evicted = True
            return
        key, trigrams = similarity.describe([sentence.tokens for sentence in unit.sentences])
        if self._seen_index.has_similar(trigrams):
            self.seen += 1
            return
        if (previous := self._candidates.get(key)) is not None:
            self._equal += 1
            if previous.rank > rank:
                return
        self._candidates[key] = _Candidate(_build_item(score, unit), self._number, trigrams)
        heapq.heappush(self._heap, (rank, key))
        self._remove_least()

    def _remove_least(self) -> None:
        """Removes the least uncertain candidate if there are too many, and replaced ones below it."""
        while self._is_replaced(*self._heap[0]) or len(self._candidates) > self._capacity:
            rank, key = heapq.heappop(self._heap)
            if not self._is_replaced(rank, key):
                del self._candidates[key]
                self._has_evicted = True

    def _is_replaced(self, rank: tuple[float, int], key: int) -> bool:
        return key not in self._candidates or self._candidates[key].rank != rank

    def select(self, options: SelectionOptions) -> tuple[list[SelectedItem], int]:
        """Returns the selected items, and the number of near-duplicates of them that were skipped."""
        selected: list[SelectedItem] = []
        index, duplicates = SimilarityIndex(options.similarity), self._equal
        for candidate in sorted(self._candidates.values(), key=lambda each: each.rank, reverse=True):
            if len(selected) == options.count:
                break
            if index.has_similar(candidate.trigrams):
                duplicates += 1
                continue
            index.add(candidate.trigrams)
            selected.append(candidate.item)
        if len(selected) < options.count and self._has_evicted:
            log.warning(
                "selected %s instead of %d: near-duplicates fill the memory of %d candidates; raise `similarity`,"
                " or select again with these as `seen`",
                counted(len(selected), options.unit),
                options.count,
                self._capacity,
            )
        return selected, duplicates


class _Piece(NamedTuple):
    """A text, the offset of its first character, the number of newlines before it, and its sentences."""

    text: str
    start: int
    newlines: int
    sentences: Sequence[Sentence]


def _build_item(score: float, unit: _Unit) -> SelectedItem:
    first = unit.records[0]
    pieces = list(_split_pieces(unit))
    text = "".join("\n" * (piece.newlines if number else 0) + piece.text for number, piece in enumerate(pieces))
    sentences, shift = [], 0
    for number, piece in enumerate(pieces):
        shift += piece.newlines if number else 0
        for sentence in piece.sentences:
            offsets = tuple(
                [(start + shift - piece.start, end + shift - piece.start) for start, end in sentence.offsets]
            )
            sentences.append(replace(sentence, offsets=offsets, source=SourceText(text), raw=()))
        shift += len(piece.text)
    document = f"{unit.input.label}#{first.document}" if first.numbered else first.document
    line = unit.sentences[0].line or first.line
    return SelectedItem(score, text, tuple(sentences), first.text is None, unit.input.label, line, document)


def _split_pieces(unit: _Unit) -> Iterator[_Piece]:
    """Yields the texts of a unit: of one sentence, or of each record; each sentence of a source of tokens is a text."""
    if unit.records[0].text is None:
        for sentence in unit.sentences:
            (placed,) = conversion.add_text(Record((sentence,))).sentences
            assert placed.source is not None
            yield _Piece(placed.source.text, 0, 1, (placed,))
        return
    if len(unit.sentences) == 1:
        (sentence,) = unit.sentences
        yield _Piece(sentence.text, sentence.offsets[0][0], 0, unit.sentences)
        return
    end = 0
    for record in unit.records:
        assert record.text is not None
        newlines = min(record.start - end, 2)  # a line end, or a blank line
        yield _Piece(record.text, record.start, newlines, [each for each in record.sentences if each.tokens])
        end = record.start + len(record.text)
