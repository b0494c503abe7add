"""Sentences tagged in overlapping windows: notices to the user, and one prediction from those of the windows."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from tagger.choices import Scheme
from tagger.data import schemes
from tagger.data.sentence import Span
from tagger.data.windows import Window
from tagger.tagging.decoding import Candidates, DecodingOptions, Prediction

log = logging.getLogger(__name__)
_MAX_NOTICES = 20  # of a kind


class WindowNotice(NamedTuple):
    """What windows do to a long sentence: it is tagged in windows, or it has spans without a probability.

    Attributes:
        line: the line of the sentence, 0 for none.
        tokens: the number of its tokens.
        spans: the number of its spans without a probability; None if the notice is not about them.
    """

    line: int
    tokens: int
    spans: int | None = None


class WindowLog:
    """Logs the notices of the first long sentences of a stream, then once that there are more."""

    def __init__(self, options: DecodingOptions, max_tokens: int) -> None:
        self._windows = f"tagged in windows of {max_tokens} tokens{options.window_limits}"
        self._spans = "spans cut by windows have no probability"
        self._suffix = "; the threshold keeps them" * (options.threshold is not None)
        self._counts: Counter[str] = Counter()

    def add(self, notice: WindowNotice) -> None:
        """Logs a notice."""
        if notice.spans is None:
            self._log(notice, self._windows, "more sentences are tagged in windows")
        else:
            self._log(notice, f"{notice.spans} {self._spans}{self._suffix}", f"more {self._spans}")

    def _log(self, notice: WindowNotice, message: str, summary: str) -> None:
        self._counts[summary] += 1
        if self._counts[summary] <= _MAX_NOTICES:
            tokens = f"{notice.tokens} tokens"
            where = f"line {notice.line}, {tokens}" if notice.line else f"a sentence of {tokens}"
            log.info("%s: %s", where, message)
        elif self._counts[summary] == _MAX_NOTICES + 1:
            log.info("%s", summary)


def split_candidates(candidates: Candidates, windows: Sequence[Window]) -> list[Candidates]:
    """Returns the candidates for each window of a sentence.

    A span is rated by the window in which it has the most context, and is None in all others.
    """
    if any(isinstance(item, str) for item in candidates):
        return [candidates[window.start : window.stop] for window in windows]
    spans = [item for item in candidates if isinstance(item, Span)]
    split: list[list[Span | None]] = [[None] * len(spans) for _ in windows]
    for number, span in enumerate(spans):
        margins = [min(span.start - window.start, window.stop - span.end) for window in windows]
        best = max(range(len(windows)), key=margins.__getitem__)
        if margins[best] >= 0:
            shift = windows[best].start
            split[best][number] = Span(span.type, span.start - shift, span.end - shift)
    return [*split]


def stitch(parts: Sequence[tuple[Window, Prediction]], scheme: Scheme | None) -> Prediction:
    """Returns the prediction for a sentence from those for its windows.

    Each overlap is cut near its middle, outside of spans if possible. A span has a probability only if a window
    predicts the same span within its part between the cuts. There are no alternatives. Uncertainties are sums over
    tokens, so each window adds that of its part.

    Args:
        parts: windows in order, with their predictions.
        scheme: the scheme of the tags; None for plain tags.
    """
    used = [
        (prediction, start - window.start, stop - window.start)
        for (window, prediction), (start, stop) in zip(parts, pairwise(_seams(parts)), strict=True)
    ]
    tags = tuple(tag for prediction, start, stop in used for tag in prediction.tags[start:stop])
    probabilities = tuple(number for prediction, start, stop in used for number in prediction.probabilities[start:stop])
    total = _add_uncertainties(used)
    if scheme is None:
        candidates = tuple(number for prediction, start, stop in used for number in prediction.candidates[start:stop])
        return Prediction(tags, (), probabilities, candidates=candidates, uncertainty=total)
    span_probabilities = {
        (span.type, window.start + span.start, window.start + span.end): span.probability
        for (window, _), (prediction, start, stop) in zip(parts, used, strict=True)
        for span in prediction.spans
        if start <= span.start and span.end <= stop
    }
    spans = tuple(replace(span, probability=span_probabilities.get(span.key)) for span in schemes.tags_to_spans(tags))
    tags = schemes.spans_to_tags(spans, len(tags), scheme)
    return Prediction(tags, spans, probabilities, candidates=_rated(parts), uncertainty=total)


def _add_uncertainties(used: Sequence[tuple[Prediction, int, int]]) -> float | None:
    """Returns the sum of the uncertainties of parts of windows, each in proportion to its tokens; None without them."""
    totals = [
        prediction.uncertainty * (stop - start) / len(prediction.tags)
        for prediction, start, stop in used
        if prediction.uncertainty is not None
    ]
    return sum(totals) if totals else None


def drop_unrated(prediction: Prediction, scheme: Scheme) -> Prediction:
    """Returns a prediction without its spans that have no probability, whose tokens then have a probability of 0.

    No window has the probability of `O` for these tokens.
    """
    if all(span.probability is not None for span in prediction.spans):
        return prediction
    spans = tuple(span for span in prediction.spans if span.probability is not None)
    probabilities = list(prediction.probabilities)
    for span in prediction.spans:
        if span.probability is None and probabilities:
            probabilities[span.start : span.end] = [0.0] * (span.end - span.start)
    tags = schemes.spans_to_tags(spans, len(prediction.tags), scheme)
    return prediction._replace(tags=tags, spans=spans, probabilities=tuple(probabilities))


def _rated(parts: Sequence[tuple[Window, Prediction]]) -> tuple[float | None, ...]:
    """Returns the probability of each candidate span from the one window that was given it."""
    columns = zip(*(prediction.candidates for _, prediction in parts), strict=True)
    return tuple(next((value for value in column if value is not None), None) for column in columns)


def _seams(parts: Sequence[tuple[Window, Prediction]]) -> list[int]:
    """Returns the bounds of the tokens used of each window: near the middle of an overlap, but not inside a span."""
    seams = [0]
    for pair in pairwise(parts):
        (left, _), (right, _) = pair
        inside = {
            window.start + token
            for window, prediction in pair
            for span in prediction.spans
            for token in range(span.start + 1, span.end)
        }
        start = max(seams[-1], right.start)
        middle = max(seams[-1], left.used_stop)
        free = (position for position in range(start, left.stop + 1) if position not in inside)
        seams.append(min(free, key=lambda position: abs(position - middle), default=middle))
    return [*seams, parts[-1][0].stop]
