"""Scores that count overlapping bounds or wrong types as partly right, by nervaluate (extra `[evaluation]`).

The four scores are those of SemEval 2013, task 9.1 (Segura-Bedmar et al., 2013).
"""

from collections.abc import Sequence
from typing import NamedTuple

from tagger.data.sentence import Span
from tagger.errors import ConfigError

MATCHES = {
    "strict": "equal bounds and type",
    "exact": "equal bounds, any type",
    "type": "equal type, overlapping bounds",
    "partial": "any type; equal bounds count as 1, overlapping ones as 0.5",
}
"""The four scores, and what they count as correct."""
_KEYS = {"strict": "strict", "exact": "exact", "type": "ent_type", "partial": "partial"}  # of nervaluate


class PartialScore(NamedTuple):
    """Precision, recall and F1 in percent."""

    precision: float
    recall: float
    f1: float


def score_partial_matches(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> dict[str, PartialScore]:
    """Returns the scores of the spans of each sentence, by the names in `MATCHES`.

    Raises:
        ConfigError: nervaluate is not installed.
    """
    try:
        from nervaluate import Evaluator
    except ImportError as error:
        raise ConfigError("partial scores need nervaluate; install the extra [evaluation]") from error
    types = sorted({span.type for side in (gold, predicted) for spans in side for span in spans})
    if not types:
        return {}
    sides = [[list(map(_to_dict, spans)) for spans in side] for side in (gold, predicted)]
    results = Evaluator(*sides, tags=types).evaluate()["overall"]
    return {name: _score(results[key]) for name, key in _KEYS.items()}


def _to_dict(span: Span) -> dict[str, object]:
    return {"label": span.type, "start": span.start, "end": span.end - 1}


def _score(result: object) -> PartialScore:
    return PartialScore(*(100 * float(getattr(result, name)) for name in ("precision", "recall", "f1")))
