"""A sentence longer than the limit is tagged in windows, and nobody sees where they meet."""

import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest

from tagger.data import schemes
from tagger.data.sentence import Sentence, Span
from tagger.data.windows import Window, split_into_windows
from tagger.tagging import DecodingOptions, Tagger
from tagger.tagging.decoding import Prediction
from tagger.tagging.long_sentences import stitch
from tests.tagging.models import make_model, sentences, tagger

LONG = Sentence(tuple(token for sentence in sentences(300) for token in sentence.tokens)[:5000], line=7)
ASKED = DecodingOptions(probabilities=True)
each_scheme = pytest.mark.parametrize("scheme", ["IOBES", "IOB2", "IOB1"])


def tag(model: Tagger, sentence: Sentence = LONG, answers: DecodingOptions = ASKED) -> Sentence:
    (actual,) = model.stream([sentence], answers)
    return actual


@each_scheme
@pytest.mark.parametrize("most", [2, 30, 100])
def test_a_long_sentence_gets_valid_tags_for_all_tokens(scheme: str, most: int) -> None:
    actual = tag(tagger(make_model(scheme=scheme), max_tokens=most))
    assert (actual.tokens, actual.line) == (LONG.tokens, 7)
    assert len(actual.tags) == len(actual.probabilities) == 5000
    assert schemes.find_invalid(actual.tags, scheme) == []  # type: ignore[arg-type]
    assert [(span.type, span.start, span.end) for span in actual.spans] == [
        (span.type, span.start, span.end) for span in schemes.tags_to_spans(actual.tags)
    ]


@each_scheme
def test_tags_mostly_equal_those_without_windows(scheme: str) -> None:
    random_model = make_model(scheme=scheme)
    whole, actual = tag(tagger(random_model, max_tokens=5000)), tag(tagger(random_model, max_tokens=100))
    equal = sum(left == right for left, right in zip(whole.tags, actual.tags, strict=True))
    assert equal >= 4950


def test_a_candidate_is_rated_by_the_window_in_which_it_has_the_most_context() -> None:
    random_model = make_model()
    spans = [Span("PER", start, start + 1 + start % 4) for start in range(0, 180, 3)]
    text = LONG.tokens[:200]
    actual = tag(
        tagger(random_model, max_tokens=40), Sentence(text, spans=tuple(spans)), DecodingOptions(candidates=True)
    )
    for span, probability in zip(spans, actual.candidate_probabilities, strict=True):
        by_window = {}
        for window in split_into_windows(200, 40):
            if window.start <= span.start and span.end <= window.stop:
                moved = Span("PER", span.start - window.start, span.end - window.start)
                inner = Sentence(text[window.start : window.stop], spans=(moved,))
                (own,) = tag(tagger(random_model), inner, DecodingOptions(candidates=True)).candidate_probabilities
                by_window.setdefault(min(span.start - window.start, window.stop - span.end), own)
        assert probability == pytest.approx(by_window[max(by_window)], abs=1e-6)


def test_a_candidate_longer_than_a_window_has_no_probability() -> None:
    sentence = Sentence(LONG.tokens[:100], spans=(Span("PER", 10, 60), Span("PER", 3, 4)))
    found = tag(tagger(make_model(), max_tokens=40), sentence, DecodingOptions(candidates=True))
    assert [number is None for number in found.candidate_probabilities] == [True, False]


def test_each_plain_tag_of_a_long_sentence_has_the_probability_of_the_window_whose_tags_are_used() -> None:
    plain = make_model(plain=4)
    sentence = Sentence(LONG.tokens[:100], tags=("T1",) * 100)
    asked = DecodingOptions(candidates=True, probabilities=True)
    whole = tag(tagger(plain, max_tokens=40), sentence, asked)
    assert len(whole.candidate_probabilities) == 100
    for tag_name, ours, own in zip(whole.tags, whole.candidate_probabilities, whole.probabilities, strict=True):
        assert ours == pytest.approx(own) if tag_name == "T1" else ours + own <= 1 + 1e-6  # type: ignore[operator]


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("most", [30, 100])
def test_every_span_with_a_probability_is_whole_in_a_window_with_that_probability(
    most: int, threshold: float | None
) -> None:
    random_model = make_model()
    answers = DecodingOptions(probabilities=True, threshold=threshold)
    actual = tag(tagger(random_model, max_tokens=most), answers=answers)
    whole_spans = set()
    for window in split_into_windows(5000, most):
        inner = tag(tagger_of(random_model), Sentence(LONG.tokens[window.start : window.stop]), answers)
        whole_spans |= {
            Span(one.type, one.start + window.start, one.end + window.start, one.probability) for one in inner.spans
        }
    assert set(actual.spans) <= whole_spans
    for span in actual.spans:
        assert set(actual.probabilities[span.start : span.end]) == {span.probability}


def tagger_of(random_model: object, cache: dict[int, Tagger] = {}) -> Tagger:  # noqa: B006
    return cache.setdefault(id(random_model), tagger(random_model))  # type: ignore[arg-type]


def stitch_spans(length: int, most: int, spans: Sequence[Sequence[tuple[int, int]]]) -> Sentence:
    """Returns what is stitched of windows that show these spans, given by their places in the whole sentence."""
    parts: list[tuple[Window, Prediction]] = []
    for number, (window, bounds) in enumerate(zip(split_into_windows(length, most), spans, strict=True)):
        inner = tuple(Span("PER", start - window.start, end - window.start, 0.1 + number / 10) for start, end in bounds)
        tags = schemes.spans_to_tags(inner, most, "IOBES")
        probabilities = [0.5] * most
        for span in inner:
            assert span.probability is not None
            probabilities[span.start : span.end] = [span.probability] * (span.end - span.start)
        parts.append((window, Prediction(tags, inner, tuple(probabilities))))
    answer = stitch(parts, "IOBES")
    return Sentence(("a",) * length, tags=answer.tags, spans=answer.spans, probabilities=answer.probabilities)


_MODEL = make_model()


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
def test_windows_meet_outside_of_spans(spans: list[list[tuple[int, int]]], expected: list[tuple[int, int]]) -> None:
    actual = stitch_spans(60, 40, spans)
    for span in actual.spans:
        assert set(actual.probabilities[span.start : span.end]) == {span.probability}
        assert any((span.start, span.end) in window for window in spans)
    assert len(actual.tags) == 60
    assert [(span.start, span.end) for span in actual.spans] == expected


def test_a_span_longer_than_the_overlap_is_stitched_from_both_windows() -> None:
    actual = stitch_spans(60, 40, [[(15, 40)], [(20, 45)]])
    assert actual.spans == (Span("PER", 15, 45, None),)
    assert schemes.find_invalid(actual.tags, "IOBES") == []


def test_windows_with_a_large_overlap_stay_in_order() -> None:
    count = len(split_into_windows(251, 100))
    bounds = [(window.start, window.stop) for window in split_into_windows(251, 100)]
    for spans in ([[place] for place in bounds], [[(start, stop - 1)] for start, stop in bounds], [[]] * count):
        actual = stitch_spans(251, 100, spans)
        assert len(actual.tags) == 251
        assert schemes.find_invalid(actual.tags, "IOBES") == []


def test_plain_tags_equal_those_of_the_windows() -> None:
    random_model = make_model(plain=6)
    actual, model = tag(tagger(random_model, max_tokens=100)), tagger(random_model)
    for window in split_into_windows(5000, 100):
        inner = tag(model, Sentence(LONG.tokens[window.start : window.stop]))
        kept = slice(window.used_start - window.start, window.used_stop - window.start)
        assert actual.tags[window.used_start : window.used_stop] == inner.tags[kept]
        assert actual.probabilities[window.used_start : window.used_stop] == inner.probabilities[kept]


def test_each_long_sentence_is_logged_once_and_short_ones_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    short = Sentence(LONG.tokens[:100])
    list(tagger(make_model(), max_tokens=100).stream([short, LONG, short, Sentence(LONG.tokens[:101])]))
    logged = [record.message for record in caplog.records if "windows" in record.message]
    assert logged == [
        "line 7, 5000 tokens: tagged in windows of 100 tokens",
        "a sentence of 101 tokens: tagged in windows of 100 tokens",
    ]


@pytest.mark.parametrize("answers", [DecodingOptions(), ASKED, DecodingOptions(threshold=0.3)])
def test_spans_without_a_probability_pass_any_threshold_and_are_logged(
    answers: DecodingOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    actual = tag(tagger(make_model(scheme="IOB1"), max_tokens=2), answers=answers)
    unknown = [span for span in actual.spans if span.probability is None]
    assert unknown
    assert all((span.probability or 1) >= (answers.threshold or 0) for span in actual.spans)
    logged = [record.message for record in caplog.records if "probability" in record.message]
    asked = answers != DecodingOptions()
    kept = "; the threshold keeps them" if answers.threshold else ""
    assert logged == asked * [f"line 7, 5000 tokens: {len(unknown)} spans cut by windows have no probability{kept}"]


def test_only_the_first_of_many_long_sentences_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    inputs = [Sentence(LONG.tokens[:100])] * 50
    list(tagger(make_model(scheme="IOB1"), max_tokens=2).stream(inputs, DecodingOptions(probabilities=True)))
    for logged, more in (
        ("tagged in windows", "more sentences are tagged in windows"),
        ("have no probability", "more spans cut by windows have no probability"),
    ):
        lines = [line for line in caplog.messages if logged in line]
        assert (len(lines), lines[-1]) == (21, more)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (DecodingOptions(probabilities=True), ", with probabilities that are exact only within a window"),
        (DecodingOptions(threshold=0.5), ", with probabilities that are exact only within a window"),
        (DecodingOptions(nbest=2), ", without alternatives"),
        (
            DecodingOptions(probabilities=True, nbest=2),
            ", with probabilities that are exact only within a window, without alternatives",
        ),
    ],
)
def test_the_notice_names_requested_outputs_that_are_unavailable(
    caplog: pytest.LogCaptureFixture, options: DecodingOptions, limits: str
) -> None:
    caplog.set_level(logging.INFO)
    list(tagger(make_model(), max_tokens=4000).stream([LONG], options))
    messages = [record.getMessage() for record in caplog.records if "compiling" not in record.name]
    assert messages == [f"line 7, 5000 tokens: tagged in windows of 4000 tokens{limits}"]


@pytest.mark.parametrize("batch_tokens", [1, 250, 32768])
def test_windows_get_the_same_tags_in_every_batch(batch_tokens: int) -> None:
    random_model = make_model()
    alone = tag(tagger(random_model, max_tokens=100))
    model = tagger(random_model, max_tokens=100, batch_tokens=batch_tokens, workers=2)
    empty = Sentence(())
    before, actual, nothing, after = model.stream([sentences(1)[0], LONG, empty, LONG], ASKED)
    assert (actual, nothing, after) == (alone, empty, alone)
    assert len(before.tags) == len(before)


def test_a_window_as_long_as_the_sentence_changes_nothing() -> None:
    random_model = make_model()
    assert tag(tagger(random_model, max_tokens=5000)) == tag(tagger(random_model, max_tokens=10**6))
    assert all(left.stop > right.start for left, right in pairwise(split_into_windows(5000, 100)))
