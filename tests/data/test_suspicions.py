"""Data that can be read but is probably not what it seems."""

import pytest

from tagger.data import suspicions
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence


def sentence(tags: str, line: int) -> Sentence:
    names = tuple(tags.split())
    return Sentence(names, tags=names, line=line, raw=tuple(f"{name} {name}\n" for name in names))


def find_suspicions(sentences: list[Sentence], name: str) -> list[str]:
    return list(suspicions.find_suspicions(Corpus(name, tuple(sentences))))


@pytest.mark.parametrize("tags", ["O B-PER", "_ _", "NN nn", "PER-1 PER-2", "$ ."])
def test_usual_tags_are_not_suspicious(tags: str) -> None:
    assert find_suspicions([sentence(tags, 1), sentence(tags, 4)], "x.txt") == []


def test_a_very_long_sentence_is_noticed_with_its_line() -> None:
    (notice,) = find_suspicions([sentence("O O", 1), sentence("O " * 2001, 4)], "x.txt")
    assert notice == "x.txt:4: a sentence of 2,001 tokens; are sentences separated by blank lines?"
    assert find_suspicions([sentence("O " * 2000, 4)], "x.txt") == []


def test_tags_that_look_the_same_are_noticed_with_line_and_code_point() -> None:
    (notice,) = find_suspicions([sentence("O O B-X", 1), sentence("B-X \u041e", 5)], "x.txt")
    assert notice == "x.txt:6: the tags '\u041e' (U+041E) and 'O' look the same"


def test_of_many_tags_that_look_the_same_ten_are_listed() -> None:
    notices = find_suspicions([sentence(" ".join("O" + "\u200b" * count for count in range(13)), 1)], "x.txt")
    assert len(notices) == 11
    assert notices[-1] == "x.txt: … and 2 more tags that look like others"


def test_empty_fields_among_tags_are_noticed() -> None:
    (notice,) = find_suspicions([sentence("DET NOUN", 1), sentence("VERB _", 4)], "x.conllu")
    assert notice.startswith("x.conllu:5: 1 of 4 tokens have the tag '_', which marks an empty field; if they were not")
