"""Evaluates a tagger on a corpus."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from tagger import __version__
from tagger.choices import Selection
from tagger.config import Config
from tagger.data import schemes
from tagger.data.reader import Corpus
from tagger.data.schemes import UNKNOWN
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tagger.evaluation import scoring
from tagger.evaluation.report import SPANS, TOKENS, Counts, LeftOut, Report, TypeScore
from tagger.evaluation.selecting import SpanSelector
from tagger.tagging import EncodedPool, Tagger


def find_selection(config: Config, *, has_spans: bool) -> Selection:
    """Returns the score that models are chosen by: that of the recipe, else F1 for spans, accuracy for plain tags."""
    return config.training.selection or ("f1" if has_spans else "accuracy")


def evaluate(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    pools: Iterable[EncodedPool] | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> Report:
    """Returns the scores of a tagger on a corpus; arguments and errors as for `evaluate_with_counts`."""
    return evaluate_with_counts(tagger, corpus, strict=strict, pools=pools, on_batch=on_batch)[0]


def evaluate_with_counts(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    pools: Iterable[EncodedPool] | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> tuple[Report, Counts]:
    """Returns the scores of a tagger on a corpus, and the counts of each sentence.

    Args:
        tagger: the tagger.
        corpus: sentences with gold tags.
        strict: refuse gold tags that are invalid in their scheme.
        pools: the sentences as `tagger.encode` returned them, to encode them only once for several evaluations.
        on_batch: is called between batches; it may raise to end the evaluation.

    Raises:
        DataError: the corpus has plain tags but the model spans, or the reverse; or invalid tags with `strict`.
    """
    gold = [sentence.tags for sentence in corpus.sentences]
    detected = schemes.Detected(None, "plain tags", 0)
    if tagger.model.scheme is not None:
        detected = _detect_spans(gold, corpus, strict=strict)
    elif (actual := schemes.detect(gold)).scheme:
        raise DataError(f"{corpus.name}: the model's tags are plain, but the gold column has spans in {actual.name}")
    started = time.perf_counter()
    if pools is None:
        predicted = list(tagger.stream(corpus.sentences, on_batch=on_batch))
    else:
        predicted = list(chain.from_iterable(tagger.tag_encoded(pools, on_batch=on_batch)))
    seconds = time.perf_counter() - started
    score = _score_tags if tagger.model.scheme is None else _score_spans
    figures, counts = score(corpus, predicted, detected)
    selection = find_selection(tagger.model.config, has_spans=tagger.model.scheme is not None)
    digest = corpus.digest()
    names = "plain tags" if tagger.model.scheme is None else f"{tagger.model.scheme} conlleval"
    report = Report(
        selection=selection,
        sentences=len(gold),
        tokens=corpus.tokens,
        seconds=seconds,
        unknown_tags=_count_unknown_tags(gold, tagger),
        invalid_tags=detected.invalid_count,
        gold_scheme=detected.name,
        signature=_signature(f"{selection}={figures[selection]:.2f}", names, digest),
        **figures,
    )
    return report, Counts(digest, TOKENS if tagger.model.scheme is None else SPANS, counts)


_Figures = tuple[dict[str, Any], tuple[tuple[int, ...], ...]]
"""The scores of a report by name, and the counts of each sentence."""


def _score_tags(corpus: Corpus, predicted: Sequence[Sentence], _: schemes.Detected) -> _Figures:
    known = [[position for position, tag in enumerate(each.tags) if tag != UNKNOWN] for each in corpus.sentences]
    gold, tags = (
        [[sentence.tags[position] for position in positions] for sentence, positions in zip(side, known, strict=True)]
        for side in (corpus.sentences, predicted)
    )
    left_out = LeftOut(corpus.tokens - sum(map(len, known)))
    overall, each = scoring.score_tags(gold, tags)
    counts = tuple((sum(map(str.__eq__, *pair)), len(pair[0])) for pair in zip(gold, tags, strict=True))
    figures = {"accuracy": scoring.accuracy(gold, tags), "types": {}, "tags": each, "left_out": left_out}
    return _figures(overall, each) | figures, counts


def _score_spans(corpus: Corpus, predicted: Sequence[Sentence], detected: schemes.Detected) -> _Figures:
    scheme = detected.scheme or "IOB2"
    selector = SpanSelector(scheme)
    pairs = [selector.select(*pair) for pair in zip(corpus.sentences, predicted, strict=True)]
    sides = [pair.gold for pair in pairs], [pair.predicted for pair in pairs]
    overall, types = scoring.score_spans(*sides)
    counts = tuple((len({*left} & {*right}), len(right), len(left)) for left, right in zip(*sides, strict=True))
    tags = [
        schemes.spans_to_tags(pair.predicted, len(sentence), scheme)
        for sentence, pair in zip(corpus.sentences, pairs, strict=True)
    ]
    rows = (
        [
            [schemes.split(tag) for position, tag in enumerate(row) if position not in pair.left_out]
            for row, pair in zip(side, pairs, strict=True)
        ]
        for side in ([sentence.tags for sentence in corpus.sentences], tags)
    )
    figures = {"accuracy": scoring.accuracy(*rows), "types": types, "tags": {}, "left_out": selector.left_out}
    return _figures(overall, types) | figures, counts


def _figures(overall: TypeScore, each: Mapping[str, TypeScore]) -> dict[str, Any]:
    return {
        "f1": overall.f1,
        "precision": overall.precision,
        "recall": overall.recall,
        "macro_f1": scoring.macro_f1(each),
    }


def _detect_spans(gold: Sequence[Sequence[str]], corpus: Corpus, *, strict: bool) -> schemes.Detected:
    detected = schemes.detect(gold)
    tags = {tag for tags in gold for tag in tags} - {schemes.OUTSIDE, UNKNOWN}
    if detected.scheme is None and tags:
        plain = min(tag for tag in tags if schemes.detect([[tag]]).scheme is None)
        raise DataError(f"{corpus.name}: the model tags spans, but the gold column has plain tags such as {plain!r}")
    if strict and detected.scheme and detected.invalid_count:
        raise DataError(*corpus.describe_invalid(detected.scheme))
    return detected


def _count_unknown_tags(gold: Sequence[Sequence[str]], tagger: Tagger) -> dict[str, int]:
    """Returns the counts of gold tags, or for spans of types, that the model cannot predict."""
    known = {*tagger.model.tags.items, UNKNOWN}
    if tagger.model.scheme is None:
        counts = Counter(tag for tags in gold for tag in tags if tag not in known)
    else:
        types = {schemes.split(tag)[1] for tag in known}
        counts = Counter(tag for tags in gold for tag in tags if schemes.split(tag)[1] not in types)
    return dict(sorted(counts.items()))


def _signature(score: str, scheme: str, digest: str) -> str:
    return " | ".join(
        (
            score,
            f"scheme={scheme}",
            f"seqeval={scoring.SEQEVAL_VERSION}",
            f"tagger={__version__}",
            f"data=sha256:{digest[:12]}",
        )
    )
