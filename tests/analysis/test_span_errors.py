"""Pairs of gold and predicted spans, and the kinds of errors, against a plain restatement."""

import random
from collections import Counter

import pytest

from tagger.analysis.span_errors import SpanPair, count_confusions, list_errors, pair_spans, score_classes
from tagger.data.sentence import Span

PER, LOC = "PER", "LOC"


@pytest.mark.parametrize(
    ("gold", "predicted", "kinds"),
    [
        ([Span(PER, 0, 2)], [Span(PER, 0, 2)], [None]),
        ([Span(PER, 0, 2)], [], ["missed"]),
        ([], [Span(PER, 0, 2)], ["spurious"]),
        ([Span(PER, 0, 2)], [Span(LOC, 0, 2)], ["type"]),
        ([Span(PER, 0, 2)], [Span(PER, 1, 2)], ["boundary"]),
        ([Span(PER, 0, 2)], [Span(LOC, 1, 3)], ["both"]),
        ([Span(PER, 0, 2)], [Span(PER, 2, 3)], ["missed", "spurious"]),
        # Two predicted spans within one gold span: the larger overlap is the answer.
        ([Span(PER, 0, 3)], [Span(PER, 0, 1), Span(PER, 1, 3)], ["spurious", "boundary"]),
        # Equal bounds come before an equal type.
        ([Span(PER, 0, 2), Span(LOC, 2, 3)], [Span(LOC, 0, 2), Span(LOC, 2, 3)], ["type", None]),
        ([Span(PER, 0, 1), Span(PER, 1, 3)], [Span(PER, 0, 3)], ["missed", "boundary"]),
        ([Span(PER, 0, 2), Span(LOC, 2, 4)], [Span(PER, 0, 2), Span(LOC, 3, 4)], [None, "boundary"]),
    ],
)
def test_each_kind_of_error_is_named(gold: list[Span], predicted: list[Span], kinds: list[str | None]) -> None:
    assert sorted(str(pair.kind) for pair in pair_spans(gold, predicted)) == sorted(map(str, kinds))


def test_of_several_overlapping_spans_the_one_with_the_largest_overlap_is_paired() -> None:
    pairs = pair_spans([Span(PER, 0, 3)], [Span(PER, 0, 1), Span(PER, 1, 3)])
    assert [pair.predicted for pair in pairs if pair.gold] == [Span(PER, 1, 3)]


def drawn_spans(random_source: random.Random) -> list[Span]:
    spans, position = [], 0
    while position < 12:
        start = position + random_source.randrange(3)
        position = start + 1 + random_source.randrange(3)
        spans.append(Span(random_source.choice([PER, LOC, "ORG"]), start, position))
    return spans


def test_every_span_is_in_one_pair_and_equal_spans_are_always_paired() -> None:
    source = random.Random(5)
    for _ in range(500):
        gold, predicted = drawn_spans(source), drawn_spans(source)
        pairs = pair_spans(gold, predicted)
        assert Counter(pair.gold for pair in pairs if pair.gold) == Counter(gold)
        assert Counter(pair.predicted for pair in pairs if pair.predicted) == Counter(predicted)
        assert sum(pair.is_correct for pair in pairs) == len({*gold} & {*predicted})
        for pair in pairs:
            if pair.gold and pair.predicted:
                assert range(max(pair.gold.start, pair.predicted.start), min(pair.gold.end, pair.predicted.end))
        # No missed span overlaps a spurious one: the two would be a pair.
        missed = [pair.gold for pair in pairs if pair.gold and not pair.predicted]
        spurious = [pair.predicted for pair in pairs if pair.predicted and not pair.gold]
        assert not any(left.start < right.end and right.start < left.end for left in missed for right in spurious)


def test_probabilities_do_not_make_spans_differ() -> None:
    (pair,) = pair_spans([Span(PER, 0, 2, 0.5)], [Span(PER, 0, 2, 0.9)])
    assert pair.is_correct


def test_errors_confusions_and_scores_of_classes_are_counted() -> None:
    pairs = [
        (0, SpanPair(Span(PER, 0, 1), Span(PER, 0, 1))),
        (0, SpanPair(Span(PER, 2, 3), Span(LOC, 2, 3))),
        (3, SpanPair(Span(LOC, 0, 2), None)),
        (3, SpanPair(None, Span(LOC, 4, 6))),
    ]
    assert [(error.kind, error.sentence) for error in list_errors(pairs)] == [
        ("type", 0),
        ("missed", 3),
        ("spurious", 3),
    ]
    assert count_confusions(pair for _, pair in pairs) == {
        (PER, PER): 1,
        (PER, LOC): 1,
        (LOC, ""): 1,
        ("", LOC): 1,
    }
    scores = score_classes(pairs, lambda number, span: f"{number} {span.end - span.start}")
    assert scores == {"0 1": (1, 2, 2), "3 2": (0, 1, 1)}
    assert (scores["0 1"].precision, scores["0 1"].recall, scores["0 1"].f1) == (50, 50, 50)
    assert scores["3 2"].f1 == 0
