"""Records of many inputs, cut into pools that are tagged at once: the same pools whenever the inputs are the same."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from tagger.data.document_context import PassageNumbering
from tagger.data.sentence import Record, Reject, Sentence
from tagger.errors import CorruptError, DataError
from tagger.jobs.rejects import Rejects

POOL_TOKENS = 16_384
"""The tokens that fill a pool; its last record may exceed them."""
POOL_BYTES = 1 << 23
"""The characters, or bytes, of records that fill a pool too; its last record may exceed them."""
_TOKEN_BYTES = 1 << 11  # of a passage that count as a token, so that passages of few tokens end as well
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
        self._before = (0, 0)  # the rejects before the input at hand

    def pools(self, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[list[Sentence]]:
        """Yields the sentences of each pool.

        Args:
            number: the number of the first.
            first: the number of the input that it begins in.
            skip: the records of that input that come before it.
        """
        pool, tokens, size, volume, passage, full = Pool(), 0, 0, 0, 0, False
        try:
            for stretch, found in self._steps(first, skip):
                if isinstance(found, Record) and self._alone is not None:
                    before, passage = passage, self._passage(stretch, found)
                    found = _of_passage(found, passage)
                    if full and passage != before:
                        yield self._given(pool)
                        pool, tokens, size, volume, number = Pool(), 0, 0, 0, number + 1
                if not pool.stretches or pool.stretches[-1].number != stretch:
                    pool.stretches.append(Stretch(stretch, rejects=self._before))
                size += 1
                if isinstance(found, Record):
                    pool.stretches[-1].records.append(found)
                    tokens += sum(map(len, found.sentences))
                    volume += found.size
                else:
                    pool.stretches[-1].ended, pool.stretches[-1].spoilt = True, found is not None
                    pool.stretches[-1].corrupt = isinstance(found, CorruptError)
                full = tokens >= pool_tokens(number) or size >= _MOST_RECORDS or volume >= POOL_BYTES
                if full:
                    pool.rejects = self._rejected()  # before the next record is read, which may be another passage's
                    if self._alone is None or self._alone(stretch):
                        yield self._given(pool)
                        pool, tokens, size, volume, number, full = Pool(), 0, 0, 0, number + 1, False
        except DataError as fault:
            self.fault = fault
            return
        if pool.stretches:
            pool.rejects = self._rejected()
            yield self._given(pool)

    def _passage(self, stretch: int, record: Record) -> int:
        assert self._alone is not None
        document = record.line if self._alone(stretch) else record.document
        size = max(sum(map(len, record.sentences)), record.size // _TOKEN_BYTES)
        return self._passages.assign((stretch, document), size)

    def _given(self, pool: Pool) -> list[Sentence]:
        self.waiting.append(pool)
        return pool.sentences()

    def _rejected(self) -> tuple[int, int]:
        return (self._rejects.size, self._rejects.count) if self._rejects else (0, 0)

    def _steps(self, first: int, skip: int) -> Iterator[tuple[int, Record | DataError | None]]:
        """Yields the number of an input with each of its records, then with the fault of the rest, if there is one."""
        for number in range(first, len(self._labels)):
            self._before = self._rejected()
            try:
                for record in self._opened(number, skip if number == first else 0):
                    yield number, record
            except DataError as fault:
                if self._rejects is None:
                    raise
                self._rejects.add_file(self._labels[number], fault)
                yield number, fault
            else:
                yield number, None

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
