"""Evaluates a tagger on a corpus."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tagger.choices import Scheme, Selection
from tagger.config import Config
from tagger.data import schemes
from tagger.data.corpus import Corpus
from tagger.data.schemes import UNKNOWN, Detected
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tagger.evaluation import predictions
from tagger.evaluation.predictions import Figures
from tagger.evaluation.report import Counts, Report
from tagger.tagging import TAGS_ONLY, DecodingOptions, Tagger


class Evaluation(NamedTuple):
    """The scores of a tagger on a corpus.

    Attributes:
        report: the scores.
        counts: the counts of each sentence.
        predicted: the sentences as the tagger tagged them.
        scheme: the scheme that gold spans are read in; None for plain tags.
    """

    report: Report
    counts: Counts
    predicted: tuple[Sentence, ...]
    scheme: Scheme | None


def find_selection(config: Config, *, has_spans: bool) -> Selection:
    """Returns the score that models are chosen by: that of the recipe, else F1 for spans, accuracy for plain tags."""
    return config.training.selection or ("f1" if has_spans else "accuracy")


def evaluate(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> Report:
    """Returns the scores of a tagger on a corpus; arguments and errors as for `evaluate_with_predictions`."""
    return evaluate_with_predictions(tagger, corpus, strict=strict, on_batch=on_batch).report


def evaluate_with_predictions(
    tagger: Tagger,
    corpus: Corpus,
    *,
    strict: bool = False,
    options: DecodingOptions = TAGS_ONLY,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Returns the scores of a tagger on a corpus, the counts of each sentence, and the tagged sentences.

    Args:
        tagger: the tagger.
        corpus: sentences with gold tags.
        strict: refuse gold tags that are invalid in their scheme.
        options: what to compute besides tags and spans.
        on_batch: is called between batches; it may raise to end the evaluation.

    Raises:
        DataError: the corpus has plain tags but the model spans, or the reverse; or invalid tags with `strict`.
    """
    detected = check_gold(tagger, corpus, strict=strict)
    started = time.perf_counter()
    predicted = tuple(tagger.stream(corpus.sentences, options, on_batch=on_batch))
    return _evaluate(tagger, corpus, predicted, detected, time.perf_counter() - started)


def evaluate_predictions(
    tagger: Tagger, corpus: Corpus, predicted: Iterable[Sentence], *, seconds: float
) -> Evaluation:
    """Returns the scores of sentences that a tagger has tagged in so many seconds; errors as for `evaluate`."""
    return _evaluate(tagger, corpus, tuple(predicted), check_gold(tagger, corpus), seconds)


def _evaluate(
    tagger: Tagger, corpus: Corpus, predicted: tuple[Sentence, ...], detected: Detected, seconds: float
) -> Evaluation:
    scheme = find_gold_scheme(tagger, detected)
    figures = _score(corpus, predicted, scheme)
    selection = find_selection(tagger.model.config, has_spans=scheme is not None)
    reading = "plain tags" if scheme is None else f"{tagger.model.scheme} conlleval"
    digest = corpus.digest()
    report = figures.report(
        corpus,
        selection=selection,
        seconds=seconds,
        unknown_tags=_count_unknown_tags([sentence.tags for sentence in corpus.sentences], tagger),
        invalid_tags=detected.invalid_count,
        gold_scheme=detected.name,
        signature=figures.signature(selection, reading, digest),
    )
    return Evaluation(report, Counts(digest, figures.columns, figures.counts), predicted, scheme)


def check_gold(tagger: Tagger, corpus: Corpus, *, strict: bool = False) -> Detected:
    """Returns the scheme of the gold tags, which may be invalid in places.

    Raises:
        DataError: the corpus has plain tags but the model spans, or the reverse; or invalid tags with `strict`.
    """
    gold = [sentence.tags for sentence in corpus.sentences]
    if tagger.model.scheme is not None:
        return _detect_spans(gold, corpus, strict=strict)
    if (actual := schemes.detect(gold)).scheme:
        raise DataError(f"{corpus.name}: the model's tags are plain, but the gold column has spans in {actual.name}")
    return Detected(None, "plain tags", 0)


def find_gold_scheme(tagger: Tagger, detected: Detected) -> Scheme | None:
    """Returns the scheme in which the gold tags of a model of spans are read; None for plain tags."""
    return None if tagger.model.scheme is None else detected.scheme or "IOB2"


def _score(corpus: Corpus, predicted: Sequence[Sentence], scheme: Scheme | None) -> Figures:
    """Returns the figures of predicted sentences; `scheme` is that of the gold spans, None for plain tags."""
    if scheme is None:
        return predictions.score_plain(corpus, [sentence.tags for sentence in predicted])
    tags = [schemes.spans_to_tags(sentence.spans, len(sentence), scheme) for sentence in predicted]
    return predictions.score_spans(corpus, predicted, tags, scheme)


def _detect_spans(gold: Sequence[Sequence[str]], corpus: Corpus, *, strict: bool) -> Detected:
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
