"""Tasks for Label Studio: a JSON array, one task per line; fields of rows are carried in `data`.

Spans are `annotations`, or `predictions` if a model found them. The labelling interface has a `Labels` element `label`
for a `Text` element `text` with the value `$text`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagger.data.formats import jsonl
from tagger.data.formats.text_spans import TextWithSpans, carried_fields, find_text_spans
from tagger.data.formats.writing import Sink, TextSink, WriteOptions
from tagger.data.sentence import Record

HEAD, SEPARATOR, FOOT = "[\n", ",\n", "]\n"
_UNFINISHED = (SEPARATOR + FOOT).encode()


def make_sink(options: WriteOptions) -> Sink:
    """Returns the sink of tasks. Tokens without a text are joined by one space."""

    def write(record: Record) -> str:
        annotated = find_text_spans(record, probabilities=options.probabilities)
        if annotated is None:
            return ""
        spans = {"annotations" if options.is_annotated else "predictions": [{"result": build_results(annotated)}]}
        return jsonl.dump_line(_build_source(record, annotated) | spans).removesuffix("\n") + SEPARATOR

    return _ArraySink(write, HEAD, FOOT)


@dataclass(frozen=True, slots=True)
class _ArraySink(TextSink):
    """A sink of records that end with a comma; `finish` removes the last one."""

    def finish(self, part: Path) -> None:
        """Replaces the comma after the last record by a space, by a write that no crash divides."""
        with part.open("r+b") as file:
            file.seek(max(part.stat().st_size - len(_UNFINISHED), 0))
            if file.read() == _UNFINISHED:
                file.seek(-len(_UNFINISHED), 2)
                file.write(b" ")


def _build_source(record: Record, annotated: TextWithSpans) -> dict[str, Any]:
    """Returns a task without spans; a task of Label Studio keeps its data."""
    data = record.fields.get("data")
    if isinstance(data, Mapping):
        return carried_fields(record) | {"data": dict(data)}
    return {"data": {"text": annotated.text} | carried_fields(record)}


def build_results(annotated: TextWithSpans) -> list[dict[str, Any]]:
    """Returns the spans of a text as results."""
    return [_build_result(number, span) for number, span in enumerate(annotated.spans)]


def _build_result(number: int, span: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"id": f"span-{number}", "from_name": "label", "to_name": "text", "type": "labels"}
    if span.get("probability") is not None:
        result["score"] = span["probability"]
    return result | {"value": {name: span[name] for name in ("start", "end", "text")} | {"labels": [span["type"]]}}
