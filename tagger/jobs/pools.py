"""Reads the records of inputs into pools, each tagged at once; the same inputs always give the same pools."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from tagger.data.document_context import PassageNumbering
from tagger.data.sentence import Record, Reject, Sentence, assign_document, assign_sentences
from tagger.errors import CorruptError, DataError
from tagger.jobs.rejects import Rejects
from tagger.tagging.pools import PoolItem, PoolLimit, build_pools
from tagger.tagging.texts import passage_tokens

POOL_TOKENS = 16_384
"""Tokens of a full pool, which its last record may exceed."""
POOL_BYTES = 1 << 23
"""Characters or bytes of a full pool, which its last record may exceed."""
_FIRST_TOKENS = 512
_MAX_RECORDS = 4096  # ends of inputs included: memory must not grow with records without tokens


def pool_tokens(number: int) -> int:
    """Returns the tokens of a full pool by its number: few at first, so that the first result appears soon.

    >>> [pool_tokens(number) for number in range(7)]
    [512, 1024, 2048, 4096, 8192, 16384, 16384]
    """
    return min(_FIRST_TOKENS << min(number, 10), POOL_TOKENS)


@dataclass(slots=True)
class InputChunk:
    """The records of a pool that come from one input.

    Attributes:
        index: the index of the input.
        records: the next records of the input.
        ended: whether the input ends after them.
        failed: whether it ends because the rest cannot be read.
        corrupt: whether the records before are not reliable either, so that the input has no output.
        rejects: bytes and rows in the file of rejects before the input.
    """

    index: int
    records: list[Record] = field(default_factory=list)
    ended: bool = False
    failed: bool = False
    corrupt: bool = False
    rejects: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(slots=True)
class Pool:
    """Chunks of inputs in order, and bytes and rows in the file of rejects after they were read."""

    chunks: list[InputChunk] = field(default_factory=list)
    rejects: tuple[int, int] = (0, 0)

    def sentences(self) -> list[Sentence]:
        """Returns the sentences that have tokens, in order."""
        return [
            sentence
            for chunk in self.chunks
            for record in chunk.records
            for sentence in record.sentences
            if sentence.tokens
        ]

    def replace_sentences(self, tagged: Sequence[Sentence]) -> None:
        """Replaces the sentences that `sentences` returns by tagged ones."""
        remaining = iter(tagged)
        for chunk in self.chunks:
            for record in chunk.records:
                sentences = tuple([next(remaining) if each.tokens else each for each in record.sentences])
                assign_sentences(record, sentences)

    def clear(self) -> None:
        """Frees the records, even if the pool is still referenced."""
        for chunk in self.chunks:
            chunk.records.clear()


ReadRecords = Callable[[int, Callable[[Reject], None] | None], Iterator[Record]]
"""Yields the records of an input by its index; passes rejected input to a function, else raises DataError."""


class _Step(NamedTuple):
    """A record of an input, or the input's end.

    Attributes:
        input: the index of the input.
        result: a record, the fault that ended the input early, or None at its regular end.
        rejects_before: bytes and rows in the file of rejects before the input.
        rejects: bytes and rows after this step.
    """

    input: int
    result: Record | DataError | None
    rejects_before: tuple[int, int]
    rejects: tuple[int, int]


def _pool_limit(number: int) -> PoolLimit:
    return PoolLimit(_MAX_RECORDS, pool_tokens(number), POOL_BYTES)


def _one_record(_number: int) -> PoolLimit:
    return PoolLimit(1)


def _build_pool(steps: Sequence[_Step]) -> Pool:
    """Returns the pool of consecutive steps, grouped by input."""
    pool = Pool(rejects=steps[-1].rejects)
    for step in steps:
        if not pool.chunks or pool.chunks[-1].index != step.input:
            pool.chunks.append(InputChunk(step.input, rejects=step.rejects_before))
        chunk = pool.chunks[-1]
        if isinstance(step.result, Record):
            chunk.records.append(step.result)
        else:
            chunk.ended, chunk.failed = True, step.result is not None
            chunk.corrupt = isinstance(step.result, CorruptError)
    return pool


class Reader:
    """Reads inputs into pools, from the start or from the end of a pool.

    Args:
        labels: the names of the inputs in messages.
        read_records: yields the records of an input.
        rejects: the writer of rejected input; if None, such input ends the reading.
        is_document: if given, pools end where a passage of a document ends, and `Sentence.document` is the number of
            the passage; returns whether each record of an input, by its index, is a document.
        one_by_one: whether each record is a pool, which is yielded before the next record is read.
        on_pool: called with each pool before it is yielded; may change its records.

    Attributes:
        pending: pools that `pools` has yielded and the caller has not taken yet.
        fault: why reading ended early, None if it did not; pools before it are complete.
    """

    def __init__(
        self,
        labels: Sequence[str],
        read_records: ReadRecords,
        rejects: Rejects | None,
        *,
        is_document: Callable[[int], bool] | None = None,
        one_by_one: bool = False,
        on_pool: Callable[[Pool], None] = lambda _: None,
    ) -> None:
        self.pending: deque[Pool] = deque()
        self.fault: DataError | None = None
        self._labels, self._read, self._rejects = labels, read_records, rejects
        self._is_document, self._passages = is_document, PassageNumbering()
        self._pool_limit = _one_record if one_by_one else _pool_limit
        self._on_pool = on_pool
        self._skipping = False

    def pools(self, *, number: int = 0, first: int = 0, skip: int = 0) -> Iterator[list[Sentence]]:
        """Yields the sentences of each pool.

        Args:
            number: the number of the first pool.
            first: the index of its first input.
            skip: the number of records of that input before the pool.
        """
        try:
            for steps in build_pools(self._items(first, skip), self._pool_limit, number):
                yield self._emit(_build_pool(steps))
        except DataError as fault:
            self.fault = fault

    def _items(self, first: int, skip: int) -> Iterator[PoolItem["_Step"]]:
        passage = 0
        for step in self._steps(first, skip):
            ends_passage = self._is_document is None or self._is_document(step.input)
            if not isinstance(step.result, Record):
                yield PoolItem(step, passage, ends_passage)
                continue
            record = step.result
            tokens = record.token_count
            if self._is_document is not None:
                document = record.line if ends_passage else record.document
                passage = self._passages.assign((step.input, document), passage_tokens(record))
                for sentence in record.sentences:
                    assign_document(sentence, passage)
            yield PoolItem(step, passage, ends_passage, tokens, record.size)

    def _emit(self, pool: Pool) -> list[Sentence]:
        self._on_pool(pool)
        self.pending.append(pool)
        return pool.sentences()

    def _rejects_position(self) -> tuple[int, int]:
        return (self._rejects.size, self._rejects.count) if self._rejects else (0, 0)

    def _steps(self, first: int, skip: int) -> Iterator["_Step"]:
        """Yields a step for each record of each input and for the end of the input."""
        for number in range(first, len(self._labels)):
            before = self._rejects_position()
            try:
                for record in self._open(number, skip if number == first else 0):
                    yield _Step(number, record, before, self._rejects_position())
            except DataError as fault:
                if self._rejects is None:
                    raise
                self._rejects.add_file(self._labels[number], fault)
                yield _Step(number, fault, before, self._rejects_position())
            else:
                yield _Step(number, None, before, self._rejects_position())

    def _open(self, number: int, skip: int) -> Iterator[Record]:
        label = self._labels[number]
        self._skipping = bool(skip)  # the file has the rejects before already

        def reject(rejected: Reject) -> None:
            if self._rejects and not self._skipping:
                self._rejects.add(label, rejected)

        records = self._read(number, reject if self._rejects else None)
        if sum(1 for _ in islice(records, skip)) < skip:
            raise DataError(f"{label}: has fewer records than were tagged before; start again without `resume`")
        self._skipping = False
        yield from records
