"""The text of a record with its spans as character offsets, as annotation tools need them."""

from itertools import accumulate, chain
from typing import Any, NamedTuple

from tagger.data.formats import annotations
from tagger.data.sentence import Record


class TextWithSpans(NamedTuple):
    """A text and the offsets in it.

    Attributes:
        text: the text; tokens without one are joined by one space.
        bounds: start and end of each token.
        spans: each with `type`, `start`, `end`, `text` and perhaps `probability`.
    """

    text: str
    bounds: list[tuple[int, int]]
    spans: list[dict[str, Any]]


def find_text_spans(record: Record, *, probabilities: bool = False) -> TextWithSpans | None:
    """Returns the text of a record and its spans; None for a record with neither text nor tokens."""
    spans = record.spans_to_dicts(probabilities=probabilities)
    if record.text is not None:
        offsets = chain.from_iterable(sentence.offsets for sentence in record.sentences)
        moved = [span | {name: span[name] - record.start for name in ("start", "end")} for span in spans]
        return TextWithSpans(
            record.text, [(start - record.start, end - record.start) for start, end in offsets], _sorted(moved)
        )
    tokens = list(chain.from_iterable(sentence.tokens for sentence in record.sentences))
    if not tokens:
        return None
    starts = list(accumulate((len(token) + 1 for token in tokens), initial=0))
    bounds = [(start, start + len(token)) for start, token in zip(starts, tokens, strict=False)]
    moved = [span | {"start": bounds[span["start"]][0], "end": bounds[span["end"] - 1][1]} for span in spans]
    return TextWithSpans(" ".join(tokens), bounds, _sorted(moved))


def _sorted(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(spans, key=lambda span: (span["start"], span["end"]))


def carried_fields(record: Record) -> dict[str, Any]:
    """Returns the fields of a record's source without its text, tokens and annotations."""
    return {
        name: value
        for name, value in record.fields.items()
        if name not in annotations.SOURCE_FIELDS and not annotations.is_annotation(name, value)
    }
