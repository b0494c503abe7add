"""Scores by what is remembered of each word."""

import threading
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor

from tagger.data.batching import MAX_CHARACTERS
from tagger.data.document_context import Documents
from tagger.data.vocab import casing
from tagger.data.word_cache import Ids, WordCache
from tagger.model import TaggerModel
from tagger.nn.kernels.scorer import Places, Scorer, Spelling
from tagger.tagging import forking
from tagger.tagging.scorer import End, Scores, Words

CACHE_BYTES = 2**28
"""Of the table of words, which may grow beyond it by what the sentences under way need."""
_WORD_BYTES = 200  # that a word itself and its place take
_UNDER_WAY = 2**15  # words that may be new at once before the table is moved to a larger place


class CachedScorer:
    """Scores on a CPU by tables of words, with the weights as they are now; several threads may ask at once.

    Args:
        model: the model.
        cache_bytes: the size of the tables, REMEMBERED_BYTES if None.
    """

    shared = True

    def __init__(self, model: TaggerModel, cache_bytes: int | None = None) -> None:
        self._words, self._characters = model.known_words, model.characters
        self._scorer = Scorer(model.network)
        self._reads_documents = model.network.embedding.document_context is not None
        capacity = max(1, (cache_bytes or CACHE_BYTES) // (self._scorer.row_bytes + _WORD_BYTES))
        self.memory = WordCache(capacity)
        self._scorer.grow(capacity + _UNDER_WAY)  # no memory is taken by rows that were never used
        self._lock = threading.Lock()
        self._threads: dict[int, int] = {}  # of the turns under way
        forking.register(self)
        scores, end = self.begin([["a"]], [0])
        scores([0])  # a compiler that does not work here is met now
        end()

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of the tokens so far whose word was remembered."""
        return 1 - self.memory.misses / max(1, self.memory.tokens)

    def begin(self, sentences: Sequence[Words], passages: Sequence[int]) -> tuple[Scores, End]:
        """Returns how to score sentences, their words' rows being held until the end is told."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        bounds = [0, *np.cumsum(lengths).tolist()]
        with self._lock:
            turn, rows, new = self.memory.begin(chain.from_iterable(sentences), bounds[-1])
            try:
                self._learn(new)
            except BaseException:
                self.memory.end(turn)
                raise
            self._threads[turn] = threading.get_ident()
        places = list(pairwise(bounds))
        said = self._documents(sentences, rows, lengths, passages) if self._reads_documents and len(sentences) else None

        def scores(positions: Sequence[int]) -> tuple[Tensor, Tensor]:
            tokens = np.concatenate([np.arange(*places[position]) for position in positions])
            document_context = None if said is None else Places(*said.of(tokens))
            counts = lengths[positions]
            return torch.from_numpy(self._scorer.emissions(rows[tokens], counts, document_context)), torch.from_numpy(
                counts
            )

        def end() -> None:
            with self._lock:
                self._end(turn)

        return scores, end

    def _end(self, turn: int) -> None:
        self._threads.pop(turn, None)
        self.memory.end(turn)

    def before_fork(self) -> None:
        """Waits until no words are learnt."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Lets words be learnt again; in the child ends the turns of threads that are not there."""
        if in_child:
            others = [turn for turn, thread in self._threads.items() if thread != threading.get_ident()]
            for turn in others:
                self._end(turn)
        self._lock.release()

    def _documents(self, sentences: Sequence[Words], rows: Ids, lengths: Ids, passages: Sequence[int]) -> Documents:
        """Returns the places of words, with rows counted from 1 in place of the ids of vectors."""
        tokens = list(chain.from_iterable(sentences))
        _, first, index = np.unique(rows, return_index=True, return_inverse=True)
        distinct = [tokens[place] for place in first.tolist()]
        keys: dict[str, int] = {}
        of_word = _array((keys.setdefault(word.lower(), len(keys)) for word in distinct), len(distinct))
        kinds = _array(map(casing, distinct), len(distinct))
        return Documents(lengths, np.array(passages, np.int64), of_word[index], rows + 1, kinds[index])

    def _learn(self, words: list[str]) -> None:
        if words:
            self._scorer.grow(self.memory.size)
            self._scorer.learn(_array(map(self.memory.__getitem__, words), len(words)), self._spelling(words))
        self.memory.learnt()

    def _spelling(self, words: list[str]) -> Spelling:
        characters = [self._characters.encode(word[:MAX_CHARACTERS]) for word in words]
        return Spelling(
            _array(map(self._words.lookup, words), len(words)),
            np.array(list(chain.from_iterable(characters)), np.int64),
            _array(map(len, characters), len(words)),
            _array(map(casing, words), len(words)),
        )


def _array(numbers: Iterable[int], count: int) -> Ids:
    return np.fromiter(numbers, np.int64, count)
