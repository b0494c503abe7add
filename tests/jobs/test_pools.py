"""Records of many inputs are cut into the same pools however reading began."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import DataError
from tagger.jobs import pools
from tagger.jobs.pools import InputChunk, Pool, Reader
from tagger.jobs.rejects import Rejects

FILES = {"a": ["x"] * 40, "none": [], "b": ["x y z", "", "FAULT", "x"] * 20, "c": ["x"] * 7 + ["SPOILT"], "d": ["x"]}


def records(number: int, reject: Callable[[Reject], None] | None) -> Iterator[Record]:
    """Yields a record for each line of an input, two sentences for one that has several words."""
    name = list(FILES)[number]
    for line, text in enumerate(FILES[name], 1):
        if text == "SPOILT" or (text == "FAULT" and reject is None):
            raise DataError(f"{name}:{line}: {text}")
        if text == "FAULT" and reject is not None:
            reject(Reject(f"{name}:{line}: {text}", line, text))
            continue
        sentences = [Sentence(tuple(text.split())), Sentence(())]
        yield Record(tuple(sentences), document=line // 9, line=line)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "POOL_TOKENS", 20)
    monkeypatch.setattr(pools, "_FIRST_TOKENS", 5)


@pytest.fixture
def rejects(tmp_path: Path) -> Rejects:
    return Rejects(tmp_path / "rejects", "rejects")


Alone = Callable[[int], bool] | None


def read(rejects: Rejects | None, alone: Alone = None, **place: int) -> list[Pool]:
    reader = Reader(list(FILES), records, rejects, is_document=alone)
    assert all(reader.pending[-1].sentences() == sentences for sentences in reader.pools(**place))
    return list(reader.pending)


def sizes(found: list[Pool]) -> list[int]:
    return [sum(len(sentence) for sentence in pool.sentences()) for pool in found]


def test_pools_grow_to_their_size_and_span_inputs(rejects: Rejects) -> None:
    found = read(rejects)
    assert sizes(found)[:3] == [5, 10, 20]
    assert all(20 <= size < 23 for size in sizes(found)[2:-1])
    assert [chunk.index for chunk in found[3].chunks] == [0, 1, 2]


def test_every_input_ends_once_and_the_spoilt_one_is_told(rejects: Rejects) -> None:
    chunks = [chunk for pool in read(rejects) for chunk in pool.chunks]
    assert [(chunk.index, chunk.failed) for chunk in chunks if chunk.ended] == [
        (0, False), (1, False), (2, False), (3, True), (4, False),
    ]  # fmt: skip


def numbered_anew(pool: Pool) -> Pool:
    """Returns a pool whose passages are numbered from 0, as they are where reading begins with it."""
    numbers: dict[int, int] = {}
    for chunk in pool.chunks:
        chunk.records = [
            replace(record, sentences=tuple(_numbered(sentence, numbers) for sentence in record.sentences))
            for record in chunk.records
        ]
    return pool


def _numbered(sentence: Sentence, numbers: dict[int, int]) -> Sentence:
    return replace(sentence, document=numbers.setdefault(sentence.document, len(numbers)))


@pytest.mark.parametrize("alone", [None, lambda _: True, lambda _: False, lambda number: number == 2])
def test_from_the_end_of_any_pool_reading_goes_on_as_it_would_have(
    rejects: Rejects, tmp_path: Path, alone: Alone
) -> None:
    whole = read(rejects, alone)
    for number in range(1, len(whole)):
        done = [chunk for pool in whole[:number] for chunk in pool.chunks]
        first = done[-1].index + done[-1].ended
        skip = sum(len(chunk.records) for chunk in done if chunk.index == first)
        size, count = whole[number - 1].rejects
        again = Rejects(tmp_path / "again", "again", size=size, count=count)
        found = read(again, alone, number=number, first=first, skip=skip)
        assert list(map(numbered_anew, found)) == list(map(numbered_anew, whole[number:]))


def test_documents_that_are_to_stay_together_do_and_have_numbers_of_their_own(rejects: Rejects) -> None:
    found = read(rejects, lambda number: number == 0)
    passages = [sentence.document for pool in found for sentence in pool.sentences()]
    assert passages == sorted(passages)
    assert set(passages) == set(range(passages[-1] + 1))
    by_pool = [{sentence.document for sentence in pool.sentences()} for pool in found]
    assert all(not one & other for one, other in pairwise(by_pool))
    records_of = [(chunk.index, record) for pool in found for chunk in pool.chunks for record in chunk.records]
    known: dict[int, set[tuple[int, object]]] = {}
    for number, record in records_of:
        for sentence in record.sentences:
            if sentence.tokens:
                known.setdefault(sentence.document, set()).add(
                    (number, record.line if number == 0 else record.document)
                )
    assert all(len(documents) == 1 for documents in known.values())
    assert len(known) == len(FILES["a"]) + 11  # a record each, and what the other inputs have of nine lines each


def test_a_record_that_is_a_document_by_itself_ends_a_pool_without_waiting_for_the_next(rejects: Rejects) -> None:
    taken = []

    def slow(number: int, reject: Callable[[Reject], None] | None) -> Iterator[Record]:
        for record in records(number, reject):
            taken.append(record.line)
            yield record

    next(Reader(list(FILES), slow, rejects, is_document=lambda _: True).pools())
    assert len(taken) == 5


def test_pools_without_tokens_end_too(monkeypatch: pytest.MonkeyPatch, rejects: Rejects) -> None:
    monkeypatch.setattr(pools, "_MAX_RECORDS", 3)
    assert max(len(chunk.records) for pool in read(rejects) for chunk in pool.chunks) == 3
    assert max(len(pool.chunks) for pool in read(rejects)) <= 3


def test_without_rejects_a_fault_ends_reading_after_the_last_whole_pool() -> None:
    reader = Reader(list(FILES), records, None)
    assert len(list(reader.pools())) == 3
    assert str(reader.fault) == "b:3: FAULT"


def test_an_input_that_has_become_shorter_is_a_fault() -> None:
    reader = Reader(list(FILES), records, None)
    assert list(reader.pools(first=4, skip=2)) == []
    assert "has fewer records than were tagged" in str(reader.fault)


def test_tagged_sentences_come_back_to_their_places() -> None:
    def sentence(*tokens: str) -> Sentence:
        return Sentence(tokens)

    given = [Record((sentence("a"), sentence(), sentence("b"))), Record((sentence(),)), Record((sentence("c"),))]
    pool = Pool([InputChunk(0, given[:2]), InputChunk(1, given[2:])])
    pool.replace_sentences([replace(each, tags=(each.tokens[0].upper(),)) for each in pool.sentences()])
    assert [[each.tags for each in record.sentences] for chunk in pool.chunks for record in chunk.records] == [
        [("A",), (), ("B",)], [()], [("C",)],
    ]  # fmt: skip
