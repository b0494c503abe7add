"""What a transformer contributes to a training: cached hidden states if it is frozen, subwords if it is trainable."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tagger.config import Config
from tagger.data.batching import TransformerProvider
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.transformer.hidden_state_cache import CacheOptions, HiddenStateCache, open_cache
from tagger.transformer.providers import FillProgress, HiddenStateProvider, SubwordProvider

log = logging.getLogger(__name__)
_LOG_SECONDS = 30


@contextmanager
def open_hidden_state_cache(config: Config) -> Iterator[HiddenStateCache | None]:
    """Opens the cache of the hidden states of a frozen transformer; None for a recipe without one.

    Raises:
        StorageError: the directory that the recipe names cannot be used.
    """
    transformer, training = config.model.transformer, config.training
    if transformer.name is None or transformer.trainable:
        yield None
        return
    folder = Path(training.feature_cache) if training.feature_cache else None
    enabled = training.feature_cache is not False
    with open_cache(CacheOptions(folder, is_enabled=enabled, max_bytes=int(training.feature_cache_gb * 1e9))) as cache:
        yield cache


def open_provider(
    model: TaggerModel, sentences: Sequence[Sentence], cache: HiddenStateCache | None, device: torch.device
) -> TransformerProvider | None:
    """Returns the provider of the transformer's part of batches of sentences; None for a model without a transformer.

    The hidden states of a frozen transformer are computed now, with all of torch's threads, unless they are cached.
    """
    if model.transformer is None:
        return None
    passages, tokens = number_passages(sentences), [sentence.tokens for sentence in sentences]
    if cache is None:
        encode, padding_id = model.transformer.subwords.encode, model.transformer.padding_id
        return SubwordProvider(tokens, passages, encode, model.layout(model.transformer), padding_id)
    assert model.hidden_state_reader is not None
    computer = model.sentence_computer(model.transformer, model.hidden_state_reader, device)
    provider = HiddenStateProvider(tokens, passages, computer, cache)
    provider.fill(_ProgressLog())
    return provider


class _ProgressLog:
    """Logs how far a computation is, at most every half minute."""

    def __init__(self) -> None:
        self._logged = 0.0

    def __call__(self, progress: FillProgress) -> None:
        if progress.seconds - self._logged >= _LOG_SECONDS:
            self._logged = progress.seconds
            left = progress.seconds * (progress.total_tokens / progress.tokens - 1)
            log.info("features: %d of %d tokens, %.0f s left", progress.tokens, progress.total_tokens, left)
