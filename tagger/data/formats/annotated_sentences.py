"""Tagged sentences of an annotated row. Whatever happens to a span on the way is reported."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from tagger.data import alignment, schemes
from tagger.data.alignment import CharSpan
from tagger.data.formats import text as texts
from tagger.data.formats.annotations import SpanItem, SplitText, TextSpans, TokenSpans, TokenTags
from tagger.data.formats.reading import ReadOptions, shorten
from tagger.data.sentence import Sentence, SourceText, Span

SHIFTED = "spans whose offsets count UTF-16 units"
OTHER_TEXT = "spans that cover another text than annotated"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Origin(NamedTuple):
    """Where a row is from.

    Attributes:
        location: the file and the row in messages.
        line: the number of the row, or of its line, from 1.
        document: the number of its document in the source, from 0.
    """

    location: str
    line: int
    document: int


def build_sentences(
    annotation: TextSpans | SplitText | TokenSpans | TokenTags, origin: Origin, options: ReadOptions
) -> list[Sentence]:
    """Returns the sentences of an annotated row with their tags.

    Args:
        annotation: the annotation of the row.
        origin: where the row is from.
        options: the language of the text, what becomes of misaligned spans, and the notices.

    Raises:
        ValueError: a span is at fault, and the option `misaligned` is stop; or a token has a line break, or the text a
            lone surrogate.
        ConfigError: spaCy is not installed or does not support the language.
    """
    if isinstance(annotation, TextSpans):
        _check_characters(annotation.text)
        return _tag_text(
            annotation, texts.splitter(options.language)(annotation.text, line=origin.line), origin, options
        )
    if isinstance(annotation, SplitText):
        return _tag_text(annotation, _slice_sentences(annotation, origin), origin, options)
    for tokens in annotation.sentences:
        _check_tokens(tokens)
    if isinstance(annotation, TokenSpans):
        return _tag_tokens(annotation, origin, options)
    return list(_build_tagged(annotation, origin))


def _build_tagged(annotation: TokenTags, origin: Origin) -> Iterator[Sentence]:
    source = None if annotation.text is None else SourceText(annotation.text, has_tags=True)
    first = 0
    for tokens, tags in zip(annotation.sentences, annotation.tags, strict=True):
        offsets = tuple(annotation.offsets[first : first + len(tokens)])
        first += len(tokens)
        yield Sentence(
            tuple(tokens), tags=tuple(tags), line=origin.line, document=origin.document, offsets=offsets, source=source
        )


def _check_tokens(tokens: Sequence[str]) -> None:
    """Raises ValueError if a token has a line break or a lone surrogate."""
    if "\n" in _check_characters("".join(tokens)):
        token = next(token for token in tokens if "\n" in token)
        raise ValueError(f"the token {shorten(repr(token))} has a line break; expected words")


def _check_characters(text: str) -> str:
    """Returns a text without lone surrogates, which a vocabulary cannot store.

    Raises:
        ValueError: the text has a lone surrogate.
    """
    if not text.isascii() and (match := _SURROGATE.search(text)):
        raise ValueError(f"the text has half a character, {match[0]!r}, at offset {match.start()}")
    return text


class _Reporter:
    """Reports what happens to the spans of a row; `slice_text` returns the text between two offsets."""

    def __init__(self, origin: Origin, options: ReadOptions, slice_text: Callable[[int, int], str]) -> None:
        self.origin, self.slice_text = origin, slice_text
        self.policy, self._notices = options.annotations.misaligned, options.notices

    def report(self, kind: str, span: CharSpan, action: str, *, is_fault: bool = True) -> None:
        """Adds a notice about a span.

        Raises:
            ValueError: the span is at fault, and the option `misaligned` is stop.
        """
        text = self.slice_text(max(span.start, 0), span.end) if span.end > 0 else ""
        described = f"{alignment.describe(span)} {shorten(repr(text))}"
        if is_fault and self.policy == "stop":
            raise ValueError(f"found {kind}: {described}; correct it, or choose another `misaligned` than stop")
        self._notices.add(kind, f"{self.origin.location}: {described} {action}")


def _slice_sentences(annotation: SplitText, origin: Origin) -> Iterator[Sentence]:
    text, source = annotation.text, SourceText(annotation.text)
    for offsets in annotation.sentences:
        tokens = tuple([text[start:end] for start, end in offsets])
        _check_tokens(tokens)
        yield Sentence(tokens, line=origin.line, offsets=tuple(offsets), source=source)


def _tag_text(
    annotation: TextSpans | SplitText, split: Iterable[Sentence], origin: Origin, options: ReadOptions
) -> list[Sentence]:
    text, sentences = annotation.text, list(split)
    reporter = _Reporter(origin, options, lambda start, end: text[start:end])
    spans = [_correct_offsets(item, text, reporter) for item in annotation.spans]
    offsets = [pair for sentence in sentences for pair in sentence.offsets]
    return _tag_sentences(sentences, offsets, _align(spans, offsets, len(text), reporter), reporter)


def _tag_tokens(annotation: TokenSpans, origin: Origin, options: ReadOptions) -> list[Sentence]:
    sentences = [Sentence(tuple(tokens), line=origin.line) for tokens in annotation.sentences]
    tokens = [token for sentence in sentences for token in sentence.tokens]
    reporter = _Reporter(origin, options, lambda start, end: " ".join(tokens[start:end]))
    offsets = [(index, index + 1) for index in range(len(tokens))]
    spans = [item.span for item in annotation.spans]
    return _tag_sentences(sentences, offsets, _align(spans, offsets, len(tokens), reporter), reporter)


def _align(
    spans: Sequence[CharSpan], offsets: Sequence[tuple[int, int]], length: int, reporter: _Reporter
) -> list[Span]:
    aligned = alignment.align(spans, offsets, length, reporter.policy)
    for change in aligned.changes:
        is_fault = change.kind not in alignment.RESOLVED
        reporter.report(change.kind, change.span, change.action, is_fault=is_fault)
    return aligned.spans


def _correct_offsets(item: SpanItem, text: str, reporter: _Reporter) -> CharSpan:
    """Returns the span of an item, whose offsets count UTF-16 units if only then they fit the item's text."""
    span = item.span
    if item.text is None or _is_same(text[max(span.start, 0) : max(span.end, 0)], item.text):
        return span
    start, end = (_count_characters(text, units) for units in (span.start, span.end))
    if _is_same(text[start:end], item.text):
        reporter.report(SHIFTED, span, f"becomes {start}-{end}", is_fault=False)
        return CharSpan(span.type, start, end)
    reporter.report(OTHER_TEXT, span, f"is kept, annotated as {shorten(repr(item.text))}")
    return span


def _is_same(text: str, annotated: str) -> bool:
    """Returns whether two texts differ in white space at most; Label Studio writes a line end as a backslash and n."""
    return text == annotated or text.split() == annotated.replace("\\n", "\n").split()


def _count_characters(text: str, units: int) -> int:
    """Returns the number of characters that a number of UTF-16 units at the beginning of a text has."""
    data = text.encode("utf-16-le", "surrogatepass")[: 2 * max(units, 0)]
    return len(data.decode("utf-16-le", "replace"))


def _tag_sentences(
    sentences: Sequence[Sentence], offsets: Sequence[tuple[int, int]], spans: Sequence[Span], reporter: _Reporter
) -> list[Sentence]:
    """Returns sentences with the tags of spans over all their tokens; those that a span crosses are joined."""
    lengths = [len(sentence) for sentence in sentences]
    tags = schemes.spans_to_tags(spans, sum(lengths), "IOB2")
    counts, crossing = alignment.join_sentences(lengths, spans) if spans else ([1] * len(lengths), [])
    for span in crossing:
        characters = CharSpan(span.type, offsets[span.start][0], offsets[span.end - 1][1])
        reporter.report(alignment.ACROSS_SENTENCES, characters, "joins its sentences", is_fault=False)
    tagged, index, first = [], 0, 0
    for count in counts:
        joined = _join(sentences[index : index + count])
        index, end = index + count, first + len(joined)
        tagged.append(
            Sentence(
                joined.tokens,
                tags=tags[first:end],
                document=reporter.origin.document,
                line=joined.line,
                offsets=joined.offsets,
                source=joined.source,
            )
        )
        first = end
    return tagged


def _join(sentences: Sequence[Sentence]) -> Sentence:
    first = sentences[0]
    if len(sentences) == 1:
        return first
    tokens = tuple(token for sentence in sentences for token in sentence.tokens)
    offsets = tuple(pair for sentence in sentences for pair in sentence.offsets)
    return Sentence(tokens, line=first.line, offsets=offsets, source=first.source)
