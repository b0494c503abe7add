"""A sentence longer than the limit is tagged in windows, and nobody sees where they meet."""

import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tagger.data import schemes
from tagger.data.sentence import Sentence, Span
from tagger.data.windows import Window, windows
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging.decoding import Answer
from tests.tagging.models import make_model, sentences, tagger

LONG = Sentence(tuple(token for sentence in sentences(300) for token in sentence.tokens)[:5000], line=7)
ASKED = DecodingOptions(probabilities=True)
each_scheme = pytest.mark.parametrize("scheme", ["IOBES", "IOB2", "IOB1"])


def tagged(model: Tagger, sentence: Sentence = LONG, answers: DecodingOptions = ASKED) -> Sentence:
    (found,) = model.stream([sentence], answers)
    return found


@each_scheme
@pytest.mark.parametrize("most", [2, 30, 100])
def test_it_has_all_its_tags_and_they_keep_to_the_scheme(scheme: str, most: int) -> None:
    found = tagged(tagger(make_model(scheme=scheme), max_tokens=most))
    assert (found.tokens, found.line) == (LONG.tokens, 7)
    assert len(found.tags) == len(found.probabilities) == 5000
    assert schemes.broken(found.tags, scheme) == []  # type: ignore[arg-type]
    assert [(span.type, span.start, span.end) for span in found.spans] == [
        (span.type, span.start, span.end) for span in schemes.spans_of(found.tags)
    ]


@each_scheme
def test_tags_are_mostly_those_without_windows(scheme: str) -> None:
    made = make_model(scheme=scheme)
    whole, found = tagged(tagger(made, max_tokens=5000)), tagged(tagger(made, max_tokens=100))
    equal = sum(left == right for left, right in zip(whole.tags, found.tags, strict=True))
    assert equal >= 4950


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("most", [30, 100])
def test_every_span_is_one_that_a_window_shows_whole_with_its_probability(most: int, threshold: float | None) -> None:
    made = make_model()
    answers = DecodingOptions(probabilities=True, threshold=threshold)
    found = tagged(tagger(made, max_tokens=most), answers=answers)
    shown = set()
    for window in windows(5000, most):
        inner = tagged(tagger_of(made), Sentence(LONG.tokens[window.start : window.stop]), answers)
        shown |= {
            Span(one.type, one.start + window.start, one.end + window.start, one.probability) for one in inner.spans
        }
    assert set(found.spans) <= shown
    for span in found.spans:
        assert set(found.probabilities[span.start : span.end]) == {span.probability}


def tagger_of(made: object, cache: dict[int, Tagger] = {}) -> Tagger:  # noqa: B006
    return cache.setdefault(id(made), tagger(made))  # type: ignore[arg-type]


def shown(length: int, most: int, spans: Sequence[Sequence[tuple[int, int]]]) -> Sentence:
    """Returns what is stitched of windows that show these spans, given by their places in the whole sentence."""
    parts: list[tuple[Window, Answer]] = []
    for number, (window, places) in enumerate(zip(windows(length, most), spans, strict=True)):
        inner = tuple(Span("PER", start - window.start, end - window.start, 0.1 + number / 10) for start, end in places)
        tags = schemes.tags_of(inner, most, "IOBES")
        probabilities = [0.5] * most
        for span in inner:
            assert span.probability is not None
            probabilities[span.start : span.end] = [span.probability] * (span.end - span.start)
        parts.append((window, Answer(tags, inner, tuple(probabilities))))
    answer = tagger_of(_MADE)._stitched(parts)
    return Sentence(("a",) * length, tags=answer.tags, spans=answer.spans, probabilities=answer.probabilities)


_MADE = make_model()


@pytest.mark.parametrize(
    ("spans", "expected"),
    [  # windows [0, 40) and [20, 60), which meet at 30
        ([[(28, 33)], [(28, 33)]], [(28, 33)]),
        ([[(28, 31)], []], [(28, 31)]),
        ([[(29, 33)], []], []),
        ([[], [(29, 33)]], [(29, 33)]),
        ([[(27, 31)], [(29, 34)]], [(29, 34)]),
        ([[(5, 8), (29, 32)], [(31, 35), (50, 52)]], [(5, 8), (31, 35), (50, 52)]),
    ],
)
def test_windows_meet_where_neither_shows_a_span(
    spans: list[list[tuple[int, int]]], expected: list[tuple[int, int]]
) -> None:
    found = shown(60, 40, spans)
    for span in found.spans:
        assert set(found.probabilities[span.start : span.end]) == {span.probability}
        assert any((span.start, span.end) in window for window in spans)
    assert len(found.tags) == 60
    assert [(span.start, span.end) for span in found.spans] == expected


def test_a_span_longer_than_what_windows_share_is_stitched_from_both() -> None:
    found = shown(60, 40, [[(15, 40)], [(20, 45)]])
    assert found.spans == (Span("PER", 15, 45, None),)
    assert schemes.broken(found.tags, "IOBES") == []


def test_windows_that_share_almost_everything_keep_their_order() -> None:
    count = len(windows(251, 100))
    places = [(window.start, window.stop) for window in windows(251, 100)]
    for spans in ([[place] for place in places], [[(start, stop - 1)] for start, stop in places], [[]] * count):
        found = shown(251, 100, spans)
        assert len(found.tags) == 251
        assert schemes.broken(found.tags, "IOBES") == []


def test_plain_tags_are_those_of_the_windows() -> None:
    made = make_model(plain=6)
    found, model = tagged(tagger(made, max_tokens=100)), tagger(made)
    for window in windows(5000, 100):
        inner = tagged(model, Sentence(LONG.tokens[window.start : window.stop]))
        kept = slice(window.first - window.start, window.last - window.start)
        assert found.tags[window.first : window.last] == inner.tags[kept]
        assert found.probabilities[window.first : window.last] == inner.probabilities[kept]


def test_there_is_one_notice_for_each_and_others_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    short = Sentence(LONG.tokens[:100])
    list(tagger(make_model(), max_tokens=100).stream([short, LONG, short, Sentence(LONG.tokens[:101])]))
    told = [record.message for record in caplog.records if "windows" in record.message]
    assert told == [
        "line 7, 5000 tokens: tagged in windows of 100 tokens",
        "a sentence of 101 tokens: tagged in windows of 100 tokens",
    ]


@pytest.mark.parametrize("answers", [DecodingOptions(), ASKED, DecodingOptions(threshold=0.3)])
def test_spans_that_have_no_probability_stay_above_any_threshold_and_are_told_of(
    answers: DecodingOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = tagged(tagger(make_model(scheme="IOB1"), max_tokens=2), answers=answers)
    unknown = [span for span in found.spans if span.probability is None]
    assert unknown
    assert all((span.probability or 1) >= (answers.threshold or 0) for span in found.spans)
    told = [record.message for record in caplog.records if "probability" in record.message]
    asked = answers != DecodingOptions()
    kept = "; the threshold keeps them" if answers.threshold else ""
    assert told == asked * [f"line 7, 5000 tokens: {len(unknown)} spans cut by windows have no probability{kept}"]


def test_of_many_long_sentences_some_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    given = [Sentence(LONG.tokens[:100])] * 50
    list(tagger(make_model(scheme="IOB1"), max_tokens=2).stream(given, DecodingOptions(probabilities=True)))
    for told, more in (
        ("tagged in windows", "more sentences are tagged in windows"),
        ("have no probability", "more spans cut by windows have no probability"),
    ):
        lines = [line for line in caplog.messages if told in line]
        assert (len(lines), lines[-1]) == (21, more)


@pytest.mark.parametrize(
    ("answers", "lack"),
    [
        (DecodingOptions(probabilities=True), ", with probabilities that are exact within each alone"),
        (DecodingOptions(threshold=0.5), ", with probabilities that are exact within each alone"),
        (DecodingOptions(nbest=2), ", without alternatives"),
        (
            DecodingOptions(probabilities=True, nbest=2),
            ", with probabilities that are exact within each alone, without alternatives",
        ),
    ],
)
def test_the_notice_tells_what_was_asked_for_and_cannot_be_had(
    caplog: pytest.LogCaptureFixture, answers: DecodingOptions, lack: str
) -> None:
    caplog.set_level(logging.INFO)
    list(tagger(make_model(), max_tokens=4000).stream([LONG], answers))
    assert caplog.messages == [f"line 7, 5000 tokens: tagged in windows of 4000 tokens{lack}"]


@pytest.mark.parametrize("batch_tokens", [1, 250, 32768])
def test_windows_are_tagged_alike_in_every_batch_and_among_others(batch_tokens: int) -> None:
    made = make_model()
    alone = tagged(tagger(made, max_tokens=100))
    model = tagger(made, max_tokens=100, batch_tokens=batch_tokens, workers=2)
    empty = Sentence(())
    before, found, nothing, after = model.stream([sentences(1)[0], LONG, empty, LONG], ASKED)
    assert (found, nothing, after) == (alone, empty, alone)
    assert len(before.tags) == len(before)


def test_windows_as_long_as_the_sentence_are_none() -> None:
    made = make_model()
    assert tagged(tagger(made, max_tokens=5000)) == tagged(tagger(made, max_tokens=10**6))
    assert all(left.stop > right.start for left, right in pairwise(windows(5000, 100)))
