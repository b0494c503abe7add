"""Converts tagged records: to other types, to another scheme, and to a text where the source has only tokens."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, islice

from tagger.choices import Scheme
from tagger.data import decisions, schemes, tag_formats
from tagger.data.decisions import Decision
from tagger.data.formats import Layout, conllu
from tagger.data.schemes import OUTSIDE
from tagger.data.sentence import Record, Sentence, SourceText, Span
from tagger.data.tag_formats import TagReader
from tagger.errors import ConfigError, DataError

log = logging.getLogger(__name__)

_UNKNOWN_TAG = "_"  # of tokens that were not annotated, in outputs
_HEAD = 1000  # records by which the tag format of a file is guessed


class TypeChanges:
    """Renames, keeps and drops types of spans.

    >>> changes = TypeChanges(["PER=PERSON", "MISC=", "LOC"])
    >>> [changes.apply([Span(kind, 0, 1)]) for kind in ("PER", "MISC", "LOC", "ORG")][1::2]
    [[], []]

    Args:
        entries: `OLD=NEW` renames a type, `OLD=` drops it, `OLD` keeps it. If one is kept, types that are not named are
            dropped; else they are kept.

    Raises:
        ConfigError: an entry is empty, or a type is named twice.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.names: dict[str, str] = {}
        self.drops_others = False
        self.unseen: set[str] = set()
        for entry in entries:
            old, is_renamed, new = (part.strip() for part in entry.partition("="))
            if not old or old in self.names:
                expected = "expected types such as PER, PER=PERSON or PER=, each once"
                raise ConfigError(f"`types`: found {entry!r}; {expected}")
            self.names[old] = new if is_renamed else old
            self.drops_others = self.drops_others or not is_renamed
            self.unseen.add(old)

    def apply(self, spans: Iterable[Span]) -> list[Span]:
        """Returns spans with their new types, without those that are dropped."""
        changed = []
        for span in spans:
            self.unseen.discard(span.type)
            kind = self.names.get(span.type, "" if self.drops_others else span.type)
            if kind:
                changed.append(Span(kind, span.start, span.end))
        return changed


class Converter:
    """Converts the records of one source.

    Args:
        name: the name of the source in errors.
        layout: the tag format, the outside tag and the unknown tag of the source.
        scheme: the scheme of the tags; None for that of the source.
        types: the changes of types; None for none.
        needs_text: whether records need a text; tokens are joined by one space, or as CoNLL-U's SpaceAfter says.
        marks_unknown: whether tokens that were not annotated get a tag of their own, for formats in which all have one.
        decide: returns the decisions about a sentence, by its number among those with tokens; None for none.

    Attributes:
        has_spans: whether the tags encode spans, once the first record was converted.
    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        *,
        scheme: Scheme | None,
        types: TypeChanges | None,
        needs_text: bool,
        marks_unknown: bool = True,
        decide: Callable[[int], Sequence[Decision]] | None = None,
    ) -> None:
        self._name, self._layout, self._scheme, self._types = name, layout, scheme, types
        self._needs_text = needs_text
        unknown_tag = _UNKNOWN_TAG if layout.unknown_tag is None else layout.unknown_tag
        self._unknown_tag = unknown_tag if marks_unknown else schemes.UNKNOWN
        self._find_decisions = decide
        self._count = -1  # of sentences with tokens before the current one
        self._source_scheme: Scheme = "IOB2"
        self._reader: TagReader | None = None
        self._has_logged = False
        self.has_spans = True

    def convert(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yields the converted records. The tag format is guessed from the first thousand.

        Raises:
            ConfigError: types or a scheme for plain tags.
            DataError: a tag is not of the format; the error names file and line.
        """
        records = map(self._mark_read_tags, records)
        head = list(islice(records, _HEAD))
        self._choose_reader([sentence for record in head for sentence in record.sentences if sentence.tokens])
        return map(self._convert_record, chain(head, records))

    def _mark_read_tags(self, record: Record) -> Record:
        """Returns a record in which tokens that the source does not annotate have an unknown tag."""
        unknown = self._layout.unknown_tag
        if unknown is None:
            return record
        sentences = tuple(tag_formats.mark_unknown(sentence, unknown) for sentence in record.sentences)
        return replace(record, sentences=sentences)

    def _choose_reader(self, sentences: Sequence[Sentence]) -> None:
        if any(sentence.has_annotated_text for sentence in sentences):  # tags of annotated spans
            return
        tag_format, outside = self._layout.tag_format, self._layout.outside_tag
        head, tag_format = tag_formats.read_all(sentences, self._name, tag_format, outside)
        tags = [sentence.tags for sentence in head]
        detected = schemes.detect(tags)
        self.has_spans = detected.scheme is not None or not {tag for each in tags for tag in each} - {OUTSIDE}
        self._source_scheme = detected.scheme or "IOB2"
        if self.has_spans:
            self._scheme = self._scheme or (detected.scheme if self._types else None)
            self._reader = TagReader("prefix" if tag_format == "auto" else tag_format, outside)
            return
        if plain := schemes.find_non_span_tags({tag for each in tags for tag in each}):
            raise DataError(f"{self._name}: expected tags of spans such as 'B-PER', found {plain[0]!r}")
        if self._types or self._scheme:
            option = "types" if self._types else "scheme"
            raise ConfigError(f"{self._name}: the tags are plain tags; `{option}` is for tags of spans")
        self._reader = TagReader(tag_format, outside)

    def _convert_record(self, record: Record) -> Record:
        sentences = tuple(map(self._convert_sentence, record.sentences))
        record = replace(record, sentences=sentences)
        return add_text(record) if self._needs_text and record.text is None and not record.fields else record

    def _convert_sentence(self, sentence: Sentence) -> Sentence:
        if not sentence.tokens:
            return sentence
        if self._reader is not None:
            sentence = self._reader.read(sentence, self._name)
        sentence = self._decide(sentence)
        if not self.has_spans:
            return sentence
        spans = schemes.tags_to_spans(sentence.tags)
        tags = sentence.tags
        if self._types is not None:
            spans = tuple(self._types.apply(spans))
        if self._types is not None or self._scheme is not None:
            tags = schemes.spans_to_tags(spans, len(sentence), self._scheme or "IOB2")
        if schemes.UNKNOWN in sentence.tags:
            tags = self._mark_unknown(sentence.tags, tags)
        return replace(sentence, tags=schemes.without_type(tags), spans=spans)

    def _decide(self, sentence: Sentence) -> Sentence:
        """Returns a sentence with the changes that were decided."""
        self._count += 1
        chosen = self._find_decisions(self._count) if self._find_decisions is not None else ()
        if not chosen:
            return sentence
        tags = decisions.apply(sentence, chosen, self._name, has_spans=self.has_spans)
        if self.has_spans:
            tags = schemes.spans_to_tags(schemes.tags_to_spans(tags), len(sentence), self._source_scheme)
            pairs = zip(sentence.tags, tags, strict=True)
            tags = [old if old == schemes.UNKNOWN and new == OUTSIDE else new for old, new in pairs]
        return replace(sentence, tags=tuple(tags))

    def _mark_unknown(self, previous: Sequence[str], tags: Sequence[str]) -> tuple[str, ...]:
        """Returns tags in which those of tokens that were not annotated can be written."""
        if not self._has_logged and self._unknown_tag == _UNKNOWN_TAG != self._layout.unknown_tag:
            log.warning(
                "%s: tokens that were not annotated get the tag %s; to read it, set data.unknown_tag",
                self._name,
                _UNKNOWN_TAG,
            )
            self._has_logged = True
        pairs = zip(previous, tags, strict=True)
        return tuple([self._unknown_tag if before == schemes.UNKNOWN else tag for before, tag in pairs])


def add_text(record: Record) -> Record:
    """Returns a record of one sentence with a text: its tokens joined by one space, or as SpaceAfter in MISC says."""
    if not any(map(len, record.sentences)):
        return record
    (sentence,) = record.sentences
    spaces = ["" if touches else " " for touches in conllu.read_touching(sentence)]
    pieces = list(chain.from_iterable(zip(sentence.tokens, spaces, strict=True)))[:-1]
    starts = list(accumulate(map(len, pieces), initial=0))
    offsets = tuple((starts[2 * index], starts[2 * index] + len(token)) for index, token in enumerate(sentence.tokens))
    text = "".join(pieces)
    placed = replace(sentence, offsets=offsets, source=SourceText(text))
    return replace(record, sentences=(placed,), text=text, fields={"text": text})


def parse_types(types: str | Iterable[str] | Mapping[str, str]) -> TypeChanges:
    """Returns the changes that a list such as `PER=PERSON,LOC`, its entries, or a mapping of names describe."""
    if isinstance(types, Mapping):
        return TypeChanges(f"{old}={new}" for old, new in types.items())
    return TypeChanges(types.split(",") if isinstance(types, str) else types)
