"""Near-duplicates, against the Jaccard similarity of all pairs."""

import random
from fractions import Fraction

import pytest

from tagger.analysis import similarity
from tagger.analysis.similarity import SimilarityIndex


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.75, 1.0])
def test_a_set_is_similar_if_its_jaccard_similarity_with_any_other_reaches_the_threshold(threshold: float) -> None:
    draw = random.Random(1)
    sets = [frozenset(draw.choices(range(12), k=draw.randint(1, 8))) for _ in range(300)]
    index, hits = SimilarityIndex(threshold), 0
    for number, each in enumerate(sets):
        jaccard = max((Fraction(len(each & other), len(each | other)) for other in sets[:number]), default=Fraction(0))
        assert index.has_similar(each) == (jaccard >= Fraction(str(threshold)))
        hits += index.has_similar(each)
        index.add(each)
    assert 0 < hits < 300


def test_case_and_numbers_make_no_difference() -> None:
    first = similarity.describe([["On", "3", "May", "1999", ",", "prices", "rose", "2.5", "%"], ["Yes"]])
    second = similarity.describe([["on", "12", "MAY", "2024", ",", "Prices", "rose", "10", "%"], ["yes"]])
    assert first == second
    assert similarity.describe([["on", "3", "may"]]) != similarity.describe([["on", "three", "may"]])


def test_a_sentence_has_a_trigram_around_each_token() -> None:
    trigrams = similarity.find_trigrams([("a", "b", "c"), ("d",)])
    assert trigrams == {hash(trigram) for trigram in (("", "a", "b"), ("a", "b", "c"), ("b", "c", ""), ("", "d", ""))}
