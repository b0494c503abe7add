"""JSON lines for Prodigy: a text with tokens and spans; other fields of rows are carried.

Annotations have the answer `accept`; predictions have no answer, since they are tasks.
"""

from collections.abc import Mapping
from typing import Any

from tagger.data.formats import jsonl
from tagger.data.formats.text_spans import TextWithSpans, carried_fields, find_text_spans
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of lines for Prodigy. Tokens without a text are joined by one space."""

    def write(record: Record) -> str:
        annotated = find_text_spans(record)
        if annotated is None:
            return ""
        decision = {"answer": "accept"} if options.is_annotated else {}
        return jsonl.dump_line(build_task(annotated, carried_fields(record)) | decision)

    return TextSink(write)


def build_task(annotated: TextWithSpans, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a text with its tokens and spans, and further fields."""
    text, bounds, spans = annotated
    next_starts = [*(start for start, _ in bounds[1:]), len(text)][: len(bounds)]
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "id": number, "ws": following > end}
        for number, ((start, end), following) in enumerate(zip(bounds, next_starts, strict=True))
    ]
    first_tokens = {start: number for number, (start, _) in enumerate(bounds)}
    last_tokens = {end: number for number, (_, end) in enumerate(bounds)}
    built = [
        {
            "start": span["start"],
            "end": span["end"],
            "token_start": first_tokens[span["start"]],
            "token_end": last_tokens[span["end"]],
            "label": span["type"],
        }
        for span in spans
    ]
    task = {"text": text, "tokens": tokens, "spans": built}
    return task | {name: value for name, value in fields.items() if name not in task}
