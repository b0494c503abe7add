"""Pools: consecutive sentences or records that are tagged together."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from tagger.data.document_context import PassageNumbering
from tagger.data.sentence import Sentence

Item = TypeVar("Item")
_MIN_SENTENCES, _MAX_SENTENCES = 32, 1024  # in a pool; the first pool is small so that the first result comes soon


class PoolItem(NamedTuple, Generic[Item]):
    """An item to be put into a pool.

    Attributes:
        item: the item.
        passage: the passage that the item belongs to; pools end between passages.
        ends_passage: whether a pool may end after this item before the next item is read.
        tokens: the item's tokens.
        size: the item's size in memory, in characters or bytes.
    """

    item: Item
    passage: int = 0
    ends_passage: bool = True
    tokens: int = 0
    size: int = 0


class PoolLimit(NamedTuple):
    """Limits of a pool, which is full when it reaches one of them; None for no limit. The last item may exceed them."""

    items: int
    tokens: int | None = None
    size: int | None = None

    def is_reached(self, items: int, tokens: int, size: int) -> bool:
        """Returns whether one of the amounts is reached."""
        return (
            items >= self.items
            or (self.tokens is not None and tokens >= self.tokens)
            or (self.size is not None and size >= self.size)
        )


def build_pools(
    items: Iterable[PoolItem[Item]], limit: Callable[[int], PoolLimit], first: int = 0
) -> Iterator[list[Item]]:
    """Yields the items as pools.

    Args:
        items: the items.
        limit: returns the limit of a pool by its number.
        first: the number of the first pool.
    """
    pool: list[Item] = []
    number, tokens, size, passage, is_full = first, 0, 0, 0, False
    current = limit(number)
    for entry in items:
        if is_full and entry.passage != passage:
            yield pool
            pool, number, tokens, size = [], number + 1, 0, 0
            current = limit(number)
        pool.append(entry.item)
        tokens, size, passage = tokens + entry.tokens, size + entry.size, entry.passage
        is_full = current.is_reached(len(pool), tokens, size)
        if is_full and entry.ends_passage:
            yield pool
            pool, number, tokens, size, is_full = [], number + 1, 0, 0, False
            current = limit(number)
    if pool:
        yield pool


def build_sentence_pools(sentences: Iterable[Sentence], *, by_passage: bool) -> Iterator[list[Sentence]]:
    """Yields sentences as pools of 32 sentences at first and 1024 later, which end between passages if `by_passage`."""
    if not by_passage:
        return build_pools(map(PoolItem, sentences), _sentence_limit)
    numbering = PassageNumbering()
    items = (
        PoolItem(sentence, numbering.assign(sentence.document, len(sentence)), ends_passage=False)
        for sentence in sentences
    )
    return build_pools(items, _sentence_limit)


def _sentence_limit(number: int) -> PoolLimit:
    return PoolLimit(min(_MIN_SENTENCES << min(number, 10), _MAX_SENTENCES))
