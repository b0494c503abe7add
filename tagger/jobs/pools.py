"""Records of many inputs, cut into pools that are tagged at once: the same pools whenever the inputs are the same."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from tagger.data.document_context import PassageNumbering
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import CorruptError, DataError
from tagger.jobs.rejects import Rejects
from tagger.tagging.pools import PoolItem, PoolLimit, build_pools
from tagger.tagging.texts import passage_tokens

POOL_TOKENS = 16_384
"""The tokens that fill a pool; its last record may exceed them."""
POOL_BYTES = 1 << 23
"""The characters, or bytes, of records that fill a pool too; its last record may exceed them."""
_FIRST_TOKENS = 512
_MOST_RECORDS = 4096  # ends of files count as records: what is held must not grow where there are no tokens


def pool_tokens(number: int) -> int:
    """Returns the tokens that fill a pool by its number: few at first, so that the first result comes soon.

    >>> [pool_tokens(number) for number in range(7)]
    [512, 1024, 2048, 4096, 8192, 16384, 16384]
    """
    return min(_FIRST_TOKENS << min(number, 10), POOL_TOKENS)


@dataclass(slots=True)
class Stretch:
    """The records of a pool that come from one input.

    Attributes:
        number: the input's number.
        records: its next records.
        ended: whether the input ends after them.
        spoilt: whether it ends so because the rest cannot be read.
        corrupt: whether, more than that, nothing of the input is to be kept.
        rejects: the size and count of the rejects before the input.
    """

    number: int
    records: list[Record] = field(default_factory=list)
    ended: bool = False
    spoilt: bool = False
    corrupt: bool = False
    rejects: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(slots=True)
class Pool:
    """Stretches of inputs in their order, and the size and count of the rejects when they were read."""

    stretches: list[Stretch] = field(default_factory=list)
    rejects: tuple[int, int] = (0, 0)

    def sentences(self) -> list[Sentence]:
        """Returns its sentences that have tokens, in order."""
        return [
            sentence
            for stretch in self.stretches
            for record in stretch.records
            for sentence in record.sentences
            if sentence.tokens
        ]

    def put_back(self, tagged: Sequence[Sentence]) -> None:
        """Puts tagged sentences in place of those that `sentences` gave."""
        left = iter(tagged)
        for stretch in self.stretches:
            stretch.records = [_with_tags(record, left) for record in stretch.records]

    def clear(self) -> None:
        """Drops its records, which were written, whoever still holds the pool."""
        for stretch in self.stretches:
            stretch.records.clear()


def _with_tags(record: Record, tagged: Iterator[Sentence]) -> Record:
    """Returns a record whose sentences with tokens are the next of those tagged."""
    sentences = tuple([next(tagged) if sentence.tokens else sentence for sentence in record.sentences])
    whole = record.document, record.line, record.text, record.start, record.fields, record.numbered, record.size
    return Record(sentences, *whole)


def _of_passage(record: Record, passage: int) -> Record:
    sentences = tuple([replace(sentence, document=passage) for sentence in record.sentences])
    return replace(record, sentences=sentences)


Records = Callable[[int, Callable[[Reject], None] | None], Iterator[Record]]
"""Opens the input of a number; takes up what cannot be read, or raises DataError if there is nothing to take it."""


class _Step(NamedTuple):
    """A record of an input, or the input's end.

    Attributes:
        input: the input's number.
        result: a record; the fault that ended the input early; or None at its regular end.
        rejects_before: the size and count of the rejects before the input.
        rejects: their size and count after this step.
    """

    input: int
    result: Record | DataError | None
    rejects_before: tuple[int, int]
    rejects: tuple[int, int]


def _pool_limit(number: int) -> PoolLimit:
    return PoolLimit(_MOST_RECORDS, pool_tokens(number), POOL_BYTES)


def _build_pool(steps: Sequence[_Step]) -> Pool:
    """Returns the pool of consecutive steps, grouped by input."""
    pool = Pool(rejects=steps[-1].rejects)
    for step in steps:
        if not pool.stretches or pool.stretches[-1].number != step.input:
            pool.stretches.append(Stretch(step.input, rejects=step.rejects_before))
        stretch = pool.stretches[-1]
        if isinstance(step.result, Record):
            stretch.records.append(step.result)
        else:
            stretch.ended, stretch.spoilt = True, step.result is not None
            stretch.corrupt = isinstance(step.result, CorruptError)
    return pool


class Reader:
    """Reads inputs into pools, from their beginning or from where a pool ended.

    Args:
        labels: what messages call the inputs.
        records: opens the input of a number.
        rejects: takes what cannot be read, if it is not to end the reading.
        alone: if documents are to stay together, tells by an input's number whether each record is one by itself; pools
            then end where a passage does, and their sentences have the numbers of passages.

    Attributes:
        waiting: pools given out by `pools` and not yet taken.
        fault: why reading stopped before the end, where nothing takes rejects; pools before it are whole.
    """

    def __init__(
        self,
        labels: Sequence[str],
        records: Records,
        rejects: Rejects | None,
        *,
        alone: Callable[[int], bool] | None = None,
    ) -> None:
        self.waiting: deque[Pool] = deque()
        self.fault: DataError | None = None
        self._labels, self._records, self._rejects = labels, records, rejects
        self._alone, self._passages = alone, PassageNumbering()
        self._skipping = False

    def pools(self, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[list[Sentence]]:
        """Yields the sentences of each pool.

        Args:
            number: the number of the first.
            first: the number of the input that it begins in.
            skip: the records of that input that come before it.
        """
        try:
            for steps in build_pools(self._items(first, skip), _pool_limit, number):
                yield self._given(_build_pool(steps))
        except DataError as fault:
            self.fault = fault

    def _items(self, first: int, skip: int) -> Iterator[PoolItem["_Step"]]:
        passage = 0
        for step in self._steps(first, skip):
            ends_passage = self._alone is None or self._alone(step.input)
            if not isinstance(step.result, Record):
                yield PoolItem(step, passage, ends_passage)
                continue
            record = step.result
            if self._alone is not None:
                passage = self._passage(step.input, record)
                record = _of_passage(record, passage)
            tokens = sum(map(len, record.sentences))
            yield PoolItem(step._replace(result=record), passage, ends_passage, tokens, record.size)

    def _passage(self, stretch: int, record: Record) -> int:
        assert self._alone is not None
        document = record.line if self._alone(stretch) else record.document
        return self._passages.assign((stretch, document), passage_tokens(record))

    def _given(self, pool: Pool) -> list[Sentence]:
        self.waiting.append(pool)
        return pool.sentences()

    def _rejected(self) -> tuple[int, int]:
        return (self._rejects.size, self._rejects.count) if self._rejects else (0, 0)

    def _steps(self, first: int, skip: int) -> Iterator["_Step"]:
        """Yields each record of each input, then the input's end."""
        for number in range(first, len(self._labels)):
            before = self._rejected()
            try:
                for record in self._opened(number, skip if number == first else 0):
                    yield _Step(number, record, before, self._rejected())
            except DataError as fault:
                if self._rejects is None:
                    raise
                self._rejects.add_file(self._labels[number], fault)
                yield _Step(number, fault, before, self._rejected())
            else:
                yield _Step(number, None, before, self._rejected())

    def _opened(self, number: int, skip: int) -> Iterator[Record]:
        label = self._labels[number]
        self._skipping = bool(skip)  # what was rejected before is in the file already

        def reject(found: Reject) -> None:
            if self._rejects and not self._skipping:
                self._rejects.add(label, found)

        records = self._records(number, reject if self._rejects else None)
        if sum(1 for _ in islice(records, skip)) < skip:
            raise DataError(f"{label}: has less than was tagged of it before; start again without `resume`")
        self._skipping = False
        yield from records
