"""From sentences to tensors: each distinct word is encoded once, each batch holds its distinct words once.

Shapes in this module: B sentences, T tokens in the longest one, U distinct words of a batch, C characters in the
longest of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tagger.data.document_context import DocumentContext, Documents
from tagger.data.sentence import Sentence
from tagger.data.vocab import Vocab, casing
from tagger.data.word_cache import Ids

MAX_CHARACTERS = 64
"""The characters of a word that its character features see, from its start."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences as tensors.

    Attributes:
        words: (U,) word ids of the distinct words.
        characters: (U, C) their character ids, 0 beyond the word's end.
        character_lengths: (U,) characters in each, at least 1.
        casing: (U,) ids of how each is capitalised.
        index: (B, T) which distinct word each token is; padding holds 0.
        lengths: (B,) tokens per sentence.
        gold: (B, T) tag ids, 0 in padding; None when tags are not known.
        document_context: what documents say of the words; empty where it is not wanted. An index (B, T) into R pairs of
            a document and a word, 0 in padding; (V,) the ids of the distinct words that stand beside them; then, as
            `data.documents.Elsewhere`, (O, 2) which of those stand beside each place, (R,) and (R, WIDTH).
    """

    words: Tensor
    characters: Tensor
    character_lengths: Tensor
    casing: Tensor
    index: Tensor
    lengths: Tensor
    gold: Tensor | None = None
    document_context: tuple[Tensor, ...] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network reads, in its order: all but the gold tags."""
        words = self.words, self.characters, self.character_lengths, self.casing
        return *words, self.index, self.lengths, *self.document_context

    @property
    def word_ids(self) -> list[Tensor]:
        """The ids of all words whose vectors the network reads."""
        return [self.words, *self.document_context[1:2]]

    def to(self, device: torch.device) -> "Batch":
        """Returns the batch on a device; a GPU takes it over while the caller goes on."""
        if device.type == "cpu":
            return self
        return Batch(*(_moved(getattr(self, field.name), device) for field in fields(self)))


def _moved(value: Any, device: torch.device) -> Any:
    """Returns a tensor, or tensors, on a device; None as it is."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    if device.type == "cuda":
        value = value.pin_memory()  # without which the caller would wait for the copy
    return value.to(device, non_blocking=True)


class _Known(NamedTuple):
    """Words as numbers: what Batch has of each, and the characters of all one word after another."""

    words: Ids
    casing: Ids
    lengths: Ids
    starts: Ids
    characters: Ids


class WordEncoder:
    """What is known of each distinct word, encoded once: its id, its characters, its capitalisation."""

    def __init__(self, words: Vocab, characters: Vocab) -> None:
        self._words, self._characters = words, characters
        self._rows: dict[str, int] = {}
        self._ids: list[int] = []
        self._spelling: list[list[int]] = []
        self._capitals: list[int] = []
        self._known: _Known | None = None

    def row(self, word: str) -> int:
        """Returns the number of a word in this lexicon, which takes it up if it is new."""
        row = self._rows.get(word)
        if row is None:
            row = self._rows[word] = len(self._rows)
            self._ids.append(self._words.lookup(word))
            self._spelling.append(self._characters.encode(word[:MAX_CHARACTERS]))
            self._capitals.append(casing(word))
            self._known = None
        return row

    def documents(self, sentences: Sequence[Ids], passages: Sequence[int]) -> Documents:
        """Returns the places of the words of sentences given as rows of this lexicon, each of a passage."""
        self._known = known = self._known or self._in_arrays()
        rows, keys = np.concatenate(sentences), dict[str, int]()
        of_row = np.array([keys.setdefault(word.lower(), len(keys)) for word in self._rows], np.int64)
        lengths = np.array(list(map(len, sentences)), np.int64)
        return Documents(lengths, np.array(passages, np.int64), of_row[rows], known.words[rows], known.casing[rows])

    def batch(
        self,
        sentences: Sequence[Ids],
        gold: Sequence[Ids] | None = None,
        document_context: DocumentContext | None = None,
    ) -> Batch:
        """Returns the batch of sentences given as rows of this lexicon, in their order."""
        self._known = known = self._known or self._in_arrays()
        lengths = np.array([len(rows) for rows in sentences], np.int64)
        distinct, inverse = np.unique(np.concatenate(sentences), return_inverse=True)
        character_lengths = known.lengths[distinct]
        places = np.arange(character_lengths.max())
        # Of a word that is shorter than others, what follows it is taken and put away again.
        characters = known.characters[known.starts[distinct, None] + places]
        characters[places >= character_lengths[:, None]] = 0
        return Batch(
            words=torch.from_numpy(known.words[distinct]),
            characters=torch.from_numpy(characters),
            character_lengths=torch.from_numpy(character_lengths),
            casing=torch.from_numpy(known.casing[distinct]),
            index=torch.from_numpy(_padded(inverse, lengths)),
            lengths=torch.from_numpy(lengths),
            gold=None if gold is None else torch.from_numpy(_padded(np.concatenate(gold), lengths)),
            document_context=() if document_context is None else _tensors(document_context, lengths),
        )

    def _in_arrays(self) -> _Known:
        lengths = np.array(list(map(len, self._spelling)), np.int64)
        characters = np.array([*chain.from_iterable(self._spelling), *MAX_CHARACTERS * [0]], np.int64)
        ids, kinds = np.array(self._ids, np.int64), np.array(self._capitals, np.int64)
        return _Known(ids, kinds, lengths, np.cumsum(lengths) - lengths, characters)


def _tensors(document_context: DocumentContext, lengths: Ids) -> tuple[Tensor, ...]:
    which, beside, places, kinds = document_context
    words, index = np.unique(beside, return_inverse=True)
    return tuple(map(torch.from_numpy, (_padded(which, lengths), words, index.reshape(beside.shape), places, kinds)))


def _padded(flat: Ids, lengths: Ids) -> Ids:
    """Returns rows of the given lengths, laid out one after another in `flat`, as a rectangle filled up with 0."""
    rectangle = np.zeros((len(lengths), lengths.max()), np.int64)
    rectangle[np.arange(rectangle.shape[1]) < lengths[:, None]] = flat
    return rectangle


class EncodedCorpus:
    """Sentences as rows of a lexicon, with the ids of their tags where they have any; batches are cut from it."""

    def __init__(
        self,
        sentences: Sequence[Sentence],
        lexicon: WordEncoder,
        tags: Vocab | None = None,
        passages: Sequence[int] | None = None,
    ) -> None:
        self._lexicon = lexicon
        self._rows = [np.array([lexicon.row(token) for token in sentence.tokens], np.int64) for sentence in sentences]
        self._gold = None
        if tags is not None:
            self._gold = [np.array([tags[tag] for tag in sentence.tags], np.int64) for sentence in sentences]
        self.lengths = [len(rows) for rows in self._rows]
        self._documents = lexicon.documents(self._rows, passages) if passages else None
        self._starts = np.cumsum(self.lengths) - self.lengths

    def batch(self, positions: Sequence[int]) -> Batch:
        """Returns the batch of the sentences at these positions."""
        gold = None if self._gold is None else [self._gold[position] for position in positions]
        document_context = None
        if self._documents is not None:
            tokens = [np.arange(self.lengths[position]) + self._starts[position] for position in positions]
            document_context = self._documents.of(np.concatenate(tokens))
        return self._lexicon.batch([self._rows[position] for position in positions], gold, document_context)


IsFull = Callable[[int, int], bool]
"""Returns whether a number of sentences, the longest with a number of tokens, exceeds the limit of a batch."""


def batch_limit(*, max_sentences: int | None = None, max_tokens: int | None = None) -> IsFull:
    """Returns the limit of a batch: a number of sentences, of tokens with padding, or both."""
    return lambda count, longest: (
        (max_sentences is not None and count > max_sentences)
        or (max_tokens is not None and count * longest > max_tokens)
    )


def split_into_batches(order: Sequence[int], lengths: Sequence[int], is_full: IsFull) -> Iterator[list[int]]:
    """Yields positions in their order as batches within a limit; a sentence that exceeds the limit is a batch of one.

    >>> list(split_into_batches([2, 0, 1], [5, 3, 5], batch_limit(max_tokens=10)))
    [[2, 0], [1]]
    """
    batch: list[int] = []
    longest = 0
    for position in order:
        longest = max(longest, lengths[position])
        if batch and is_full(len(batch) + 1, longest):
            yield batch
            batch, longest = [], lengths[position]
        batch.append(position)
    if batch:
        yield batch


def shuffled_batches(
    lengths: Sequence[int], is_full: IsFull, *, bucket_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Returns the batches of an epoch; the same seed and epoch give the same batches.

    Sentences are shuffled and divided into buckets of `bucket_size`. Each bucket is sorted by length, so that batches
    need little padding, and split into batches, which are shuffled. With a bucket size of 1 sentences are in random
    order.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths)).tolist()
    batches: list[list[int]] = []
    step = len(order) if bucket_size == 1 else bucket_size
    for start in range(0, len(order), step):
        part = order[start : start + step]
        if bucket_size > 1:
            part.sort(key=lengths.__getitem__)
        batches.extend(split_into_batches(part, lengths, is_full))
    return [batches[index] for index in random.permutation(len(batches))]
