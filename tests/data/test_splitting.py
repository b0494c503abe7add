import random
from collections import Counter

import pytest

from tagger.data import splitting
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError


def sentence(*types: str, document: int = 0) -> Sentence:
    return Sentence((*("w" for _ in types), "x"), tags=(*(f"B-{kind}" for kind in types), "O"), document=document)


def types_of(sentences: list[Sentence], parts: list[int], part: int) -> Counter[str]:
    return Counter(tag for each, number in zip(sentences, parts, strict=True) if number == part for tag in each.tags)


@pytest.mark.parametrize("seed", range(20))
def test_every_type_with_enough_documents_is_in_every_part(seed: int) -> None:
    generator = random.Random(seed)
    kinds = ["PER"] * 40 + ["LOC"] * 20 + ["RARE"] * 3
    generator.shuffle(kinds)
    sentences = [sentence(kind, document=number // 3) for number, kind in enumerate(kinds)]
    rare = {each.document for each in sentences if "B-RARE" in each.tags}
    parts = splitting.split(sentences, (80, 10, 10), seed)
    for part in range(3):
        assert types_of(sentences, parts, part).keys() >= {"B-PER", "B-LOC"}
        assert "B-RARE" in types_of(sentences, parts, part) or len(rare) < 3
    assert all(
        len({part for each, part in zip(sentences, parts, strict=True) if each.document == number}) == 1
        for number in range(21)
    )


def test_a_type_of_too_few_sentences_is_in_the_training_data_first() -> None:
    sentences = [sentence("PER") for _ in range(30)] + [sentence("ONCE"), sentence("TWICE"), sentence("TWICE")]
    parts = splitting.split(sentences, (80, 10, 10), seed=3)
    assert parts[30] == 0
    assert sorted(parts[31:]) in ([0, 1], [0, 2])


def test_parts_have_their_fractions_of_sentences_and_of_each_type() -> None:
    generator = random.Random(0)
    sentences = [sentence(*generator.choices(["A", "B", "C"], [90, 8, 2], k=3)) for _ in range(2000)]
    parts = splitting.split(sentences, (80, 10, 10), seed=1)
    assert [parts.count(part) for part in range(3)] == pytest.approx([1600, 200, 200], abs=20)
    totals = Counter(tag for each in sentences for tag in each.tags)
    for kind in ("B-A", "B-B", "B-C"):
        assert types_of(sentences, parts, 1)[kind] == pytest.approx(totals[kind] / 10, rel=0.1, abs=2)


def test_plain_tags_are_distributed_too() -> None:
    sentences = [Sentence(("a",), tags=("DT" if number % 10 else "UH",)) for number in range(40)]
    parts = splitting.split(sentences, (0.5, 0.25, 0.25), seed=1)
    assert all("UH" in types_of(sentences, parts, part) for part in range(3))


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_no_part_is_empty(count: int) -> None:
    for fractions in ((98, 1, 1), (1, 98, 1)):
        parts = splitting.split([sentence(f"T{number}") for number in range(count)], fractions, seed=1)
        assert len(set(parts)) == min(count, 3)


def test_fewer_documents_than_parts_are_split_by_sentence() -> None:
    sentences = [sentence("A", document=number // 10) for number in range(20)]
    assert sorted(Counter(splitting.split(sentences, (80, 10, 10), seed=1)).values()) == [2, 2, 16]
    assert len(set(splitting.split(sentences, (90, 10), seed=1)[:10])) == 1


def test_folds_hold_whole_documents_and_about_the_same_number_of_tokens() -> None:
    draw = random.Random(1)
    sentences = [Sentence(("w",) * draw.randint(1, 30), document=number // 4) for number in range(400)]
    for seed in range(3):
        numbers = splitting.divide_into_folds(sentences, 5, seed)
        documents = {(each.document, fold) for each, fold in zip(sentences, numbers, strict=True)}
        assert len(documents) == 100
        tokens = [sum(len(each) for each, fold in zip(sentences, numbers, strict=True) if fold == k) for k in range(5)]
        assert max(tokens) - min(tokens) <= 120
    assert len({tuple(splitting.divide_into_folds(sentences, 5, seed)) for seed in (1, 1, 2)}) == 2


def test_sentences_of_a_single_document_are_divided_into_folds() -> None:
    numbers = splitting.divide_into_folds([Sentence(("w",))] * 7, 3, 1)
    assert sorted(Counter(numbers).values()) == [2, 2, 3]
    with pytest.raises(ConfigError, match="2 sentences cannot be divided into 3 folds; lower `folds`"):
        splitting.divide_into_folds([Sentence(("w",))] * 2, 3, 1)
