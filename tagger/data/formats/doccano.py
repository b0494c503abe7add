"""JSON lines for doccano: a text with spans as `[start, end, type]` in `label`; other fields of rows are carried."""

from collections.abc import Mapping
from typing import Any

from tagger.data.formats import jsonl
from tagger.data.formats.text_spans import TextWithSpans, carried_fields, find_text_spans
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of lines for doccano. Tokens without a text are joined by one space."""
    return TextSink(_write)


def _write(record: Record) -> str:
    annotated = find_text_spans(record)
    return "" if annotated is None else jsonl.dump_line(build_task(annotated, carried_fields(record)))


def build_task(annotated: TextWithSpans, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a text with its spans, and further fields."""
    label = [[span["start"], span["end"], span["type"]] for span in annotated.spans]
    task = {"text": annotated.text, "label": label}
    return task | {name: value for name, value in fields.items() if name not in task}
