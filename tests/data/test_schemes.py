import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tagger.choices import Scheme, options
from tagger.data import schemes
from tagger.data.sentence import Alternative, Sentence, Span
from tests import conlleval
from tests.robustness.runs import SCALE


def strings(alphabet: list[str], longest: int) -> list[tuple[str, ...]]:
    return [tags for length in range(1, longest + 1) for tags in product(alphabet, repeat=length)]


IOB = strings(["O", "B-X", "I-X", "B-Y", "I-Y"], 5)
IOBES = strings(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in "XY")], 4)
SCHEMES: tuple[Scheme, ...] = options(Scheme)


def triples(tags: tuple[str, ...]) -> list[tuple[str, int, int]]:
    return [(span.type, span.start, span.end) for span in schemes.tags_to_spans(tags)]


def test_every_iob_string_has_the_spans_that_conlleval_finds():
    assert len(IOB) == 3905
    assert {tags: triples(tags) for tags in IOB} == {tags: conlleval.chunks(tags) for tags in IOB}


def test_every_iobes_string_has_the_spans_that_seqeval_finds():
    found = {tags: [(kind, start, last + 1) for kind, start, last in get_entities(list(tags))] for tags in IOBES}
    assert {tags: triples(tags) for tags in IOBES} == found


def test_long_strings_with_invalid_tags_have_the_spans_that_conlleval_finds():
    draw, found = random.Random(8), 0
    for _ in range(2000 * SCALE):
        tags = tuple(draw.choices(["O"] * 8 + ["B-X", "I-X", "B-Y-Z", "I-Y-Z"], k=draw.randint(0, 40)))
        assert triples(tags) == conlleval.chunks(tags)
        found += bool(triples(tags))
    assert found > 1000
    assert triples(("O", "Other", "B-X", "Other", "I-X")) == [("X", 2, 3), ("X", 4, 5)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_survive_encoding_in_a_scheme_and_the_tags_are_valid(scheme: Scheme):
    for tags in IOB + IOBES:
        spelt = schemes.convert(tags, scheme)
        assert len(spelt) == len(tags)
        assert schemes.tags_to_spans(spelt) == schemes.tags_to_spans(tags)
        assert schemes.find_invalid(spelt, scheme) == []


@pytest.mark.parametrize(("scheme", "corpus"), [("IOB1", IOB), ("IOB2", IOB), ("IOBES", IOBES)])
def test_a_string_is_valid_only_if_it_is_the_encoding_of_its_spans(scheme: Scheme, corpus: list):
    for tags in corpus:
        assert (schemes.find_invalid(tags, scheme) == []) == (schemes.convert(tags, scheme) == tags), tags


@pytest.mark.parametrize(
    ("tags", "scheme", "places"),
    [
        ("I-X O B-X I-Y", "IOB2", [0, 3]),
        ("B-X I-X B-X B-Y", "IOB1", [0, 3]),
        ("B-X O I-X S-X E-X B-Y", "IOBES", [1, 2, 3, 4, 6]),  # 6 is the end, within a span
    ],
)
def test_invalid_tags_are_reported_by_position(tags: str, scheme: Scheme, places: list[int]):
    words = tags.split()
    assert schemes.find_invalid(words, scheme) == places
    assert schemes.count_invalid(schemes.count_pairs([words, [], words]), scheme) == 2 * len(places)


@pytest.mark.parametrize(
    ("foreign", "iobes"),
    [
        ("U-X B-X L-X O B-Y I-Y L-Y", "S-X B-X E-X O B-Y I-Y E-Y"),
        ("S-X B-X E-X O B-Y M-Y E-Y", "S-X B-X E-X O B-Y I-Y E-Y"),
    ],
)
def test_bilou_and_bmes_are_read_as_iobes(foreign: str, iobes: str):
    assert schemes.convert(foreign.split(), "IOBES") == tuple(iobes.split())
    assert schemes.tags_to_spans(foreign.split()) == schemes.tags_to_spans(iobes.split())
    assert schemes.find_invalid(foreign.split(), "IOBES") == []


@pytest.mark.parametrize(
    ("tags", "detected"),
    [
        ("I-X I-X B-X O", ("IOB1", "IOB1", 0)),
        ("B-X I-X B-X O", ("IOB2", "IOB2", 0)),
        ("B-X E-X S-Y", ("IOBES", "IOBES", 0)),
        ("S-Y O", ("IOBES", "IOBES", 0)),
        ("U-X B-X L-X", ("IOBES", "BILOU", 0)),
        ("U-X", ("IOBES", "BILOU", 0)),
        ("B-X M-X E-X", ("IOBES", "BMES", 0)),
        ("B-X M-X", ("IOBES", "BMES", 1)),
        ("B-X-Y I-X-Y", ("IOB2", "IOB2", 0)),
        ("NN VB O", (None, "plain tags", 0)),
        ("B-X NN", (None, "plain tags", 0)),
        ("B- I-", (None, "plain tags", 0)),
        ("O O", (None, "plain tags", 0)),
    ],
)
def test_the_scheme_of_a_corpus_is_detected_and_named(tags: str, detected: tuple):
    assert schemes.detect([tags.split()]) == schemes.Detected(*detected)


def test_the_scheme_with_the_fewest_invalid_tags_wins_and_iob2_wins_a_tie():
    assert schemes.detect([["B-X"], ["I-X"], ["I-X"]]) == schemes.Detected("IOB1", "IOB1", 1)
    assert schemes.detect([["B-X"], ["B-X"], ["I-X"]]) == schemes.Detected("IOB2", "IOB2", 1)
    assert schemes.detect([["B-X"], ["I-X"]]) == schemes.Detected("IOB2", "IOB2", 1)
    assert schemes.detect([]).scheme is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_bounds_of_a_sentence_act_like_the_tag_o(scheme: Scheme):
    assert schemes.is_valid_transition(None, None, scheme)
    for tag in schemes.tag_set(["X", "Y"], scheme):
        assert schemes.is_valid_transition(None, tag, scheme) == schemes.is_valid_transition("O", tag, scheme)
        assert schemes.is_valid_transition(tag, None, scheme) == schemes.is_valid_transition(tag, "O", scheme)


def test_a_tag_set_has_exactly_the_tags_of_its_scheme():
    assert schemes.tag_set(["X"], "IOB2") == ["O", "B-X", "I-X"]
    assert schemes.tag_set(["X"], "IOBES") == ["O", "B-X", "I-X", "E-X", "S-X"]
    for scheme in SCHEMES:
        spelt = {tag for tags in IOB for tag in schemes.convert(tags, scheme)}
        assert spelt == set(schemes.tag_set(["X", "Y"], scheme))


def test_a_type_may_contain_hyphens_and_spaces():
    spans = (Span("B-PER one", 0, 2), Span("I", 2, 3))
    for scheme in SCHEMES:
        assert schemes.tags_to_spans(schemes.spans_to_tags(spans, 4, scheme)) == spans


def test_alternatives_are_encoded_in_the_scheme_too() -> None:
    given = Sentence(("New", "York"), tags=("B-LOC", "E-LOC"), spans=(Span("LOC", 0, 2),))
    given = replace(given, alternatives=(Alternative(("S-LOC", "O"), 0.5),))
    found = schemes.encode_sentence(given, "IOB1")
    assert found.tags == ("I-LOC", "I-LOC")
    assert found.alternatives == (Alternative(("I-LOC", "O"), 0.5),)


def test_types_are_counted_by_pairs_of_tags_as_spans_are_read():
    generator = random.Random(1)
    tags = ["O", "", *(f"{prefix}-{kind}" for prefix in "BIESLUM" for kind in "XY")]
    sequences = [generator.choices(tags, k=generator.randint(1, 8)) for _ in range(500)]
    expected = Counter(span.type for sequence in sequences for span in schemes.tags_to_spans(sequence))
    pairs = schemes.count_pairs(sequences)
    assert schemes.count_labels(pairs, has_spans=True) == expected
    assert schemes.count_tags(pairs) == Counter(tag for sequence in sequences for tag in sequence)
    for scheme in options(Scheme):
        invalid = sum(len(schemes.find_invalid(sequence, scheme)) for sequence in sequences)
        assert schemes.count_invalid(pairs, scheme) == invalid
