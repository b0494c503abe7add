"""Annotated rows of annotation tools: doccano, Label Studio, Prodigy, spaCy, and the output of this toolkit.

A row is annotated in one of three ways:

- a text with spans, in `label` or `labels` (doccano: `[start, end, type]`), `entities` (doccano: `start_offset`,
  `end_offset`, `label`; spaCy: `[start, end, type]`), `ents` (spaCy), `spans` (Prodigy, this toolkit), or `annotations`
  with `result` (Label Studio)
- tokens with `tags` or `ner_tags`, or with spans whose `start` and `end` are token indices
- a pair `[text, {"entities": [[start, end, type], …]}]` (spaCy)
- `paragraphs` of `sentences` of `tokens` with `orth` and `ner` (spaCy 2)

A row without an annotation, or with null, is skipped and reported. Rows of Prodigy that were accepted, and of Label
Studio's JSON-min, have no field of spans if they have no span.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tagger.data import schemes
from tagger.data.alignment import CharSpan
from tagger.data.formats import fields as row_fields
from tagger.data.formats.fields import TEXT, TOKENS, join_names, list_fields
from tagger.data.formats.reading import AnnotationOptions, Fields, ReadOptions
from tagger.io import json_files

_TAGS = ("tags", "ner_tags")
_SPANS = ("spans", "label", "labels", "entities", "ents")
_TASKS = ("annotations", "completions")  # of Label Studio
_STARTS = ("start", "start_offset", "start_char")
_ENDS = ("end", "end_offset", "end_char")
_TYPES = ("label", "labels", "hypertextlabels", "type", "entity_group", "entity")
_ANNOTATORS = ("annotator", "_annotator_id")  # of Label Studio's JSON-min, of Prodigy
_RECORD_IDS = ("_input_hash", "id")
_SPAN_RESULTS = ("labels", "hypertextlabels", None)
_TAGGING = ("offsets", "sentences", "probabilities", "alternatives")  # of this toolkit, with tokens, tags and spans

ANNOTATION_FIELDS = frozenset((*_TAGS, *_SPANS, *_TASKS, "predictions", *_TAGGING))
"""The fields whose lists are annotations or predictions."""
SOURCE_FIELDS = frozenset((TEXT, TOKENS, "data", "answer"))
"""The fields that hold the text or tokens, and a decision about the annotation."""

UNANNOTATED = "records without an annotation"
OTHER_ANNOTATORS = "records of other annotators"
OTHER_RESULTS = "results of another kind than spans"
CANCELLED = "cancelled annotations"


class SpanItem(NamedTuple):
    """A span as annotated, and its text if the row has it."""

    span: CharSpan
    text: str | None = None


class TextSpans(NamedTuple):
    """A text with spans."""

    text: str
    spans: list[SpanItem]


class SplitText(NamedTuple):
    """A text with spans that its tool has split: the offsets of the tokens of each sentence."""

    text: str
    sentences: list[list[tuple[int, int]]]
    spans: list[SpanItem]


class TokenSpans(NamedTuple):
    """The tokens of sentences, with spans whose offsets are token indices over all sentences."""

    sentences: list[list[str]]
    spans: list[SpanItem]


class TokenTags(NamedTuple):
    """The tokens of sentences and their tags; and the text with the offsets of the tokens, if a row has both."""

    sentences: list[list[str]]
    tags: list[list[str]]
    text: str | None = None
    offsets: Sequence[tuple[int, int]] = ()


class Skipped(NamedTuple):
    """A row that is no training data: the kind of the notice, and its message."""

    kind: str
    message: str = "skipped"


Annotation = TextSpans | TokenSpans | TokenTags | Skipped


class RowAnnotations:
    """Reads the annotations of the rows of one source.

    Args:
        options: the names of fields, and the annotator.
    """

    def __init__(self, options: AnnotationOptions) -> None:
        self._options = options
        self._annotators: dict[str | int, str] = {}  # by the id of a record

    def read(self, row: Mapping[str, Any]) -> tuple[Annotation, list[str]]:
        """Returns the annotation of a row, and a kind of notice for each part of the row that is left out.

        Raises:
            ValueError: the row has no annotation, several, or one that cannot be read.
        """
        if (decision := row.get("answer")) in ("reject", "ignore"):  # Prodigy
            return Skipped(f"records with the answer {decision}"), []
        if (name := self._find_task_field(row)) is not None:
            return self._read_task(row, row[name])
        if not self._is_selected(row):
            return Skipped(OTHER_ANNOTATORS), []
        return _read_row(row, self._options), []

    def _is_selected(self, row: Mapping[str, Any]) -> bool:
        """Returns whether a row is from the chosen annotator.

        Raises:
            ValueError: no annotator is chosen, and a previous row had the same id and another annotator.
        """
        annotator = _first_id(row, _ANNOTATORS)
        if annotator is None:
            return True
        name = str(annotator)
        if self._options.annotator is not None:
            return name == self._options.annotator
        record = _first_id(row, _RECORD_IDS)
        if record is not None and (other := self._annotators.setdefault(record, name)) != name:
            raise ValueError(_annotators_fault([other, name]))
        return True

    def _find_task_field(self, row: Mapping[str, Any]) -> str | None:
        """Returns the field with the annotations of a task of Label Studio, None for another row."""
        fields = self._options.fields
        if fields.spans is not None or fields.tags is not None or not isinstance(row.get("data"), Mapping):
            return None
        return next((name for name in _TASKS if isinstance(row.get(name), list)), None)

    def _read_task(self, row: Mapping[str, Any], annotations: Sequence[Any]) -> tuple[Annotation, list[str]]:
        for annotation in annotations:
            if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
                raise ValueError(
                    f"expected an annotation with a list 'result', found {json_files.describe(annotation)}"
                )
        done = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        left_out = [CANCELLED] * (len(annotations) - len(done))
        results = self._choose_results(done)
        if results is None:
            return Skipped(OTHER_ANNOTATORS if done else UNANNOTATED), left_out
        spans: list[SpanItem] = []
        for result in results:
            if not isinstance(result, Mapping):
                raise ValueError(f"expected an object as a result, found {json_files.describe(result)}")
            if result.get("type") in _SPAN_RESULTS:
                spans += _read_span(result, self._options.fields)
            else:
                left_out.append(OTHER_RESULTS)
        return TextSpans(row_fields.require_text(row, self._options.fields), spans), left_out

    def _choose_results(self, annotations: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Returns the results of the chosen annotator, None if there are none.

        Raises:
            ValueError: there are several annotations to choose from.
        """
        named = [(_name_annotator(annotation), annotation["result"]) for annotation in annotations]
        if (chosen := self._options.annotator) is not None:
            named = [(name, results) for name, results in named if name == chosen]
        names = list(dict.fromkeys(name for name, _ in named))
        if len(names) > 1:
            raise ValueError(_annotators_fault(names))
        if len(named) > 1:
            raise ValueError(f"the record has {len(named)} annotations by the annotator {names[0]}; expected one")
        return named[0][1] if named else None


def field_names(fields: Fields) -> frozenset[str]:
    """Returns the names of all fields that the annotation of a row may be read from."""
    chosen = filter(None, (fields.text, fields.tokens, fields.tags, fields.spans))
    used = (*_TASKS, *_ANNOTATORS, *_RECORD_IDS, "data", "document", "answer", "sentences", "offsets")
    return frozenset((*chosen, *used, TEXT, TOKENS, *_TAGS, *_SPANS))


def is_annotation(name: str, value: Any) -> bool:
    """Returns whether a field of a row holds an annotation; a label of the whole text is none.

    >>> is_annotation("label", [[0, 3, "PER"]]), is_annotation("label", "sports")
    (True, False)
    """
    return name in ANNOTATION_FIELDS and isinstance(value, list)


def with_class_names(options: ReadOptions, class_names: Mapping[str, tuple[str, ...]]) -> ReadOptions:
    """Returns options with names for tags that are integers, unless they have such names.

    Args:
        options: the options.
        class_names: for each column with classes their names.
    """
    chosen = options.annotations
    columns = [chosen.fields.tags] if chosen.fields.tags else _TAGS
    names = next((names for column in columns if (names := class_names.get(column))), ())
    if not names or chosen.tag_names:
        return options
    return replace(options, annotations=replace(chosen, tag_names=tuple(names)))


def _first_id(row: Mapping[str, Any], names: Sequence[str]) -> str | int | None:
    return next((value for name in names if isinstance(value := row.get(name), str | int)), None)


def _name_annotator(annotation: Mapping[str, Any]) -> str:
    annotator = annotation.get("completed_by")
    if isinstance(annotator, Mapping):
        annotator = annotator.get("email") or annotator.get("id")
    return str(annotator)


def _annotators_fault(names: Sequence[str]) -> str:
    return f"the record has annotations by the annotators {', '.join(names)}; choose one with data.annotator"


def _read_row(row: Mapping[str, Any], options: AnnotationOptions) -> Annotation:
    fields = options.fields
    tokens, text = row_fields.find_tokens(row, fields), row_fields.find_text(row, fields)
    span_names = _find_span_fields(row, fields)
    if tokens is not None and (tags_name := _find_tags_field(row, fields)) is not None:
        sentences = row_fields.split_tokens(row, tokens)
        tags = row_fields.split_tags(row[tags_name], sentences, tags_name, options.tag_names)
        for name in span_names:
            if name != tags_name and not options.prefers_tags:
                _check_agreement(row, tags, tags_name, name, fields)
        return _with_text(TokenTags(sentences, tags), row, text)
    if text is None and tokens is None:
        raise ValueError(_missing_fault(row, fields, has_source=False))
    if not span_names and not _is_without_spans(row):
        return Skipped(UNANNOTATED, f"skipped; {_missing_fault(row, fields, has_source=True)}")
    if len(span_names) > 1:
        raise ValueError(f"the row has annotations in {join_names(span_names)}; choose with data.fields.spans")
    spans = list(_read_spans(row[span_names[0]], span_names[0], fields)) if span_names else []
    if text is not None:
        return TextSpans(text, spans)
    return TokenSpans(row_fields.split_tokens(row, tokens), spans)


def _with_text(annotation: TokenTags, row: Mapping[str, Any], text: str | None) -> TokenTags:
    """Returns tokens with the text of their row, if the row has their offsets and these fit."""
    tokens = [token for sentence in annotation.sentences for token in sentence]
    offsets = _token_offsets(row, len(tokens))
    if text is None or offsets is None or not all(isinstance(bound, int) for pair in offsets for bound in pair):
        return annotation
    bounds = [0, *(bound for pair in offsets for bound in pair)]
    if bounds != sorted(bounds) or [text[start:end] for start, end in offsets] != tokens:
        return annotation
    return annotation._replace(text=text, offsets=[(start, end) for start, end in offsets])


def _find_tags_field(row: Mapping[str, Any], fields: Fields) -> str | None:
    if fields.tags is not None:
        is_tags = fields.tags != fields.spans or not _holds_spans(row.get(fields.tags))
        return fields.tags if is_tags and row.get(fields.tags) is not None else None
    if fields.spans is not None:
        return None
    names = [name for name in _TAGS if row.get(name) is not None]
    if len(names) > 1:
        raise ValueError(f"the row has tags in {join_names(names)}; choose with data.fields.tags")
    return names[0] if names else None


def _find_span_fields(row: Mapping[str, Any], fields: Fields) -> list[str]:
    if fields.spans is not None:
        return [fields.spans] if row.get(fields.spans) is not None else []
    return [] if fields.tags is not None else [name for name in _SPANS if isinstance(row.get(name), list)]


def _is_without_spans(row: Mapping[str, Any]) -> bool:
    """Returns whether a row without a field of spans is annotated: Prodigy and Label Studio leave out an empty one."""
    return row.get("answer") == "accept" or (row.get("annotation_id") is not None and "annotator" in row)


def _holds_spans(value: Any) -> bool:
    """Returns whether a list holds spans, not tags."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) or (
        isinstance(first, list) and len(first) > 2 and isinstance(first[0], int) and isinstance(first[2], str)
    )


def _missing_fault(row: Mapping[str, Any], fields: Fields, *, has_source: bool) -> str:
    chosen = [name for name in (fields.spans, fields.tags) if name]
    expected = f"an annotation in {join_names(chosen or [*_SPANS, *_TAGS], 'or')}"
    if not has_source:
        expected = f"{fields.text or TEXT!r} or {fields.tokens or TOKENS!r}"
    return f"expected {expected}, found {list_fields(row)}; data.fields names the fields"


def _read_spans(value: Any, name: str, fields: Fields) -> Iterator[SpanItem]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of spans as {name!r}, found {json_files.describe(value)}")
    for item in value:
        yield from _read_span(item, fields)


def _read_span(item: Any, fields: Fields) -> Iterator[SpanItem]:
    """Yields the spans of an item: `[start, end, type]`, or an object, which may have several types."""
    if isinstance(item, list | tuple) and len(item) >= 3:
        start, end, kind, text = item[0], item[1], item[2], None
    elif isinstance(item, Mapping):
        values = item["value"] if isinstance(item.get("value"), Mapping) else item
        start, end, kind = (
            values.get(chosen)
            if chosen
            else next((values[name] for name in names if values.get(name) is not None), None)
            for chosen, names in ((fields.start, _STARTS), (fields.end, _ENDS), (fields.type, _TYPES))
        )
        text = values.get("text")
    else:
        raise ValueError(f"expected [start, end, type] or an object as a span, found {json_files.describe(item)}")
    for name in kind if isinstance(kind, list) and kind else [kind]:
        if type(start) is not int or type(end) is not int or not isinstance(name, str) or not name:
            raise ValueError(f"expected a span with start, end and type, found {json_files.describe(item)}")
        yield SpanItem(CharSpan(name, start, end), text if isinstance(text, str) else None)


def _check_agreement(
    row: Mapping[str, Any], tags: list[list[str]], tags_name: str, spans_name: str, fields: Fields
) -> None:
    """Checks that spans beside the tags, as in this toolkit's output, are those of the tags.

    Raises:
        ValueError: they differ; without offsets of the tokens, spans of a text are compared by type alone.
    """
    flat = [tag for sentence in tags for tag in sentence]
    spans = sorted(item.span for item in _read_spans(row[spans_name], spans_name, fields))
    is_encoded = schemes.detect([list(set(flat))]).scheme is not None
    expected = [CharSpan(*span) for span in _spans_of(tags)] if is_encoded else []
    if (offsets := _token_offsets(row, len(flat))) is not None:
        expected = [CharSpan(kind, offsets[start][0], offsets[end - 1][1]) for kind, start, end in expected]
        agrees = sorted(expected) == spans
    elif row_fields.find_text(row, fields) is None:
        agrees = sorted(expected) == spans
    else:
        agrees = sorted(span.type for span in expected) == [span.type for span in spans]
    if not agrees:
        advice = "choose one with data.fields.tags or data.fields.spans"
        raise ValueError(f"the annotations in {tags_name!r} and {spans_name!r} differ; {advice}")


def _token_offsets(row: Mapping[str, Any], count: int) -> list[Any] | None:
    """Returns the offsets of a row's tokens, None if it has none."""
    offsets = row.get("offsets")
    if not isinstance(offsets, list) or len(offsets) != count:
        return None
    return offsets if all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in offsets) else None


def _spans_of(tags: list[list[str]]) -> Iterator[tuple[str, int, int]]:
    first = 0
    for sentence in tags:
        yield from ((span.type, first + span.start, first + span.end) for span in schemes.tags_to_spans(sentence))
        first += len(sentence)
