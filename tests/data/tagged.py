"""Records tagged without a model: the first two tokens of each sentence are a span of type X."""

from collections.abc import Iterable
from dataclasses import replace

from tagger.data.sentence import Alternative, Record, Sentence, Span


def tagged(records: Iterable[Record], kind: str = "X") -> list[Record]:
    """Returns the records with tags, spans, probabilities and alternatives."""
    return [replace(record, sentences=tuple(_tagged(one, kind) for one in record.sentences)) for record in records]


def _tagged(sentence: Sentence, kind: str) -> Sentence:
    count = len(sentence)
    tags = (f"B-{kind}", f"I-{kind}")[:count] + ("O",) * (count - 2)
    spans = (Span(kind, 0, min(2, count), 0.25),) if count else ()
    alternatives = (Alternative(tags, 0.75),)
    return replace(sentence, tags=tags, spans=spans, probabilities=(0.5,) * count, alternatives=alternatives)
