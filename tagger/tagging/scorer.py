"""Scorers, which turn sentences into emissions, and the scorer that runs the PyTorch network.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tagger.data.batching import EncodedCorpus
from tagger.data.sentence import Sentence
from tagger.data.word_arrays import WordEncoder
from tagger.model import TaggerModel
from tagger.tagging import forking
from tagger.tagging.transformer_runner import TransformerRunner


class PreparedPool(NamedTuple):
    """A pool of sentences that is ready to be scored in batches.

    Attributes:
        score: returns the emissions (B, T, K) and lengths (B,) of sentences, given their positions in the pool, the
            longest sentence first.
        release: frees the pool's resources; to be called once.
    """

    score: Callable[[Sequence[int]], tuple[Tensor, Tensor]]
    release: Callable[[], None]


class Scorer(Protocol):
    """Computes emissions.

    Attributes:
        is_concurrent: whether several threads score in parallel.
    """

    is_concurrent: bool

    @property
    def cache_hit_rate(self) -> float | None:
        """Fraction of tokens so far whose word was in the word cache; None without a word cache."""

    def prepare(self, sentences: Sequence[Sequence[str]], passages: Sequence[int]) -> PreparedPool:
        """Prepares a pool of non-empty sentences; `passages` holds the passage number of each."""

    def retain_words(self) -> None:
        """Stores how words are encoded from now on, so that `update_weights` does not encode them again."""

    def update_weights(self) -> None:
        """Scores prepared and later pools with the network's current weights; no thread may be scoring."""


class TorchScorer:
    """Scores with the PyTorch network on any device, one batch at a time; other threads may build batches meanwhile."""

    is_concurrent, cache_hit_rate = False, None

    def __init__(self, model: TaggerModel, device: torch.device, transformer: TransformerRunner | None = None) -> None:
        self._model, self._device, self._transformer = model, device, transformer
        self._network = model.network.to(device)
        self._lock = threading.Lock()  # the caller's thread may score a batch at the same time as the workers
        forking.register(self)

    def before_fork(self) -> None:
        """Waits until no batch is being scored."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Allows scoring again."""
        self._lock.release()

    def prepare(self, sentences: Sequence[Sequence[str]], passages: Sequence[int]) -> PreparedPool:
        """Prepares a pool of sentences."""
        encoder = WordEncoder(self._model.known_words, self._model.characters)
        uses_context = self._network.embedding.document_context is not None
        encoded = EncodedCorpus(
            [Sentence(tuple(tokens)) for tokens in sentences],
            encoder,
            passages=passages if uses_context else None,
            transformer=self._transformer.prepare(sentences, passages) if self._transformer else None,
        )

        def score(positions: Sequence[int]) -> tuple[Tensor, Tensor]:
            batch = encoded.batch(positions).move_to(self._device)
            with self._lock:
                training = self._network.training
                self._network.eval()
                try:
                    with torch.inference_mode():
                        return self._network(batch), batch.lengths
                finally:
                    self._network.train(training)

        return PreparedPool(score, lambda: None)

    def retain_words(self) -> None:
        """Does nothing: prepared pools hold their encoded words."""

    def update_weights(self) -> None:
        """Discards transformer features; everything else is computed with the current weights for each batch."""
        if self._transformer is not None:
            self._transformer.update_weights()
