"""Scores on the dev data after each epoch."""

from collections.abc import Callable

import torch

from tagger.data.corpus import Corpus
from tagger.evaluation import Report, evaluate
from tagger.model import TaggerModel
from tagger.tagging import EncodedPool, Tagger
from tagger.transformer.hidden_state_cache import HiddenStateCache


class DevScorer:
    """Scores a model in training on the dev data, which is encoded once.

    Args:
        model: the model, with the weights to evaluate.
        corpus: the dev data.
        device: the device to compute on.
        workers: number of threads on a CPU.
        hidden_state_cache: the cache of the hidden states of a frozen transformer.
    """

    def __init__(
        self,
        model: TaggerModel,
        corpus: Corpus,
        device: torch.device,
        workers: int,
        hidden_state_cache: HiddenStateCache | None = None,
    ) -> None:
        self._model, self._corpus, self._device, self._workers = model, corpus, device, workers
        self._cache = hidden_state_cache
        self._encoded: tuple[Tagger, list[EncodedPool]] | None = None

    def score(self, on_batch: Callable[[], None]) -> Report:
        """Returns the scores of the current weights; `on_batch` is called between batches.

        Raises:
            ModelError: the model's scores are not finite.
        """
        if self._encoded is None:
            tagger = Tagger(self._model, self._device, workers=self._workers, hidden_state_cache=self._cache)
            self._encoded = tagger, tagger.encode(self._corpus.sentences)
        else:
            self._encoded[0].update_weights()
        tagger, pools = self._encoded
        return evaluate(tagger, self._corpus, pools=pools, on_batch=on_batch)
