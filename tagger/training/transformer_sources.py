"""Sources of what a training reads of a transformer: cached states of a frozen one, subwords for a trainable one."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tagger.config import Config
from tagger.data.batching import TransformerSource
from tagger.data.document_context import number_passages
from tagger.data.sentence import Sentence
from tagger.model import TaggerModel
from tagger.transformer.sources import FillProgress, FrozenStates, SubwordSource
from tagger.transformer.state_cache import CacheOptions, StateCache, open_cache

log = logging.getLogger(__name__)
_LOG_SECONDS = 30


@contextmanager
def open_state_cache(config: Config) -> Iterator[StateCache | None]:
    """Opens the cache of the states of a frozen transformer; None for a recipe without one.

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


def open_source(
    model: TaggerModel, sentences: Sequence[Sentence], cache: StateCache | None, device: torch.device
) -> TransformerSource | None:
    """Returns the source of some sentences, None for a model without a transformer.

    The states of a frozen transformer are computed now, with all of torch's threads, unless the cache holds them.
    """
    passages, tokens = number_passages(sentences), [sentence.tokens for sentence in sentences]
    if model.transformer is None:
        return None
    if cache is None:
        encode, padding_id = model.transformer.subwords.encode, model.transformer.padding_id
        return SubwordSource(tokens, passages, encode, model.layout(model.transformer), padding_id)
    frozen = model.frozen_transformer(device)
    assert frozen is not None
    states = FrozenStates(tokens, passages, frozen, cache)
    states.fill(_ProgressLog())
    return states


class _ProgressLog:
    """Logs how far a computation is, at most every half minute."""

    def __init__(self) -> None:
        self._logged = 0.0

    def __call__(self, progress: FillProgress) -> None:
        if progress.seconds - self._logged >= _LOG_SECONDS:
            self._logged = progress.seconds
            left = progress.seconds * (progress.total_tokens / progress.tokens - 1)
            log.info("features: %d of %d tokens, %.0f s left", progress.tokens, progress.total_tokens, left)
