"""From words to emissions: what is asked of whatever gives them, and the network as it is."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from tagger.data.batching import EncodedCorpus, WordEncoder
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.tagging import forking

Words = Sequence[str]
Scores = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""Gives emissions (B, T, K) and lengths (B,) of the sentences at some places, the longest first."""
End = Callable[[], None]


class Scorer(Protocol):
    """What gives emissions.

    Attributes:
        shared: whether several threads are scored for at once.
    """

    shared: bool

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of the tokens so far whose word was remembered; None where words are not."""

    def begin(self, sentences: Sequence[Words], passages: Sequence[int]) -> tuple[Scores, End]:
        """Returns how to score sentences, none of them empty, and what is to be called when that is over.

        Sentences of the same number in `passages` are of one.
        """


class TorchScorer:
    """Scores by the network, on any device, which one thread at a time asks; batches are built meanwhile."""

    shared, cache_hit_rate = False, None

    def __init__(self, model: TaggerModel, device: torch.device) -> None:
        self._model, self._device = model, device
        self._network = model.network.to(device)
        self._lock = threading.Lock()  # a batch may be scored in the caller's thread beside those in others
        forking.register(self)

    def before_fork(self) -> None:
        """Waits until no batch is computed."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Lets batches be computed again."""
        self._lock.release()

    def begin(self, sentences: Sequence[Words], passages: Sequence[int]) -> tuple[Scores, End]:
        """Returns how to score sentences; nothing is to be ended."""
        lexicon = WordEncoder(self._model.known_words, self._model.characters)
        reads = self._network.embedding.document_context is not None
        encoded = EncodedCorpus(
            [Sentence(tuple(words)) for words in sentences], lexicon, passages=passages if reads else None
        )

        def scores(positions: Sequence[int]) -> tuple[Tensor, Tensor]:
            batch = encoded.batch(positions).to(self._device)
            with self._lock:
                training = self._network.training
                self._network.eval()
                try:
                    with torch.inference_mode():
                        return self._network(*batch.inputs), batch.lengths
                finally:
                    self._network.train(training)

        return scores, lambda: None
