"""Selects cached CPU kernels where they are supported, else the PyTorch network."""

import logging

import torch

from tagger.errors import TaggerError
from tagger.model import TaggerModel
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM
from tagger.tagging.scorer import Scorer, TorchScorer
from tagger.tagging.transformer_runner import TransformerRunner
from tagger.transformer.hidden_state_cache import HiddenStateCache

log = logging.getLogger(__name__)
_CHARACTER_TABLE_BYTES = 2**28  # 20,000 characters, 100 features and a kernel size of 5 take a third of it


def can_cache(model: TaggerModel, device: torch.device) -> bool:
    """Returns whether the cached scorer supports a model and device; its scores do not depend on the batch."""
    network, *further = model.network.members
    is_float32 = all(weight.dtype == torch.float32 for weight in model.network.parameters())
    table_bytes = _character_table_bytes(network.embedding.characters) * (1 + len(further))
    is_small = table_bytes <= _CHARACTER_TABLE_BYTES
    is_recurrent = len(network.encoder.layers) > 0 and network.encoder.attention is None
    return device.type == "cpu" and is_float32 and is_small and is_recurrent


def _character_table_bytes(module: CharacterCNN | CharacterLSTM | None) -> int:
    """Returns the peak memory of computing a table of all characters' projections."""
    if module is None:
        return 0
    if isinstance(module, CharacterCNN):
        features, _, kernel_size = module.convolution.weight.shape
        return 8 * features * kernel_size * module.embedding.num_embeddings
    return 4 * 4 * module.output_dim * module.embedding.num_embeddings


def create_scorer(
    model: TaggerModel,
    device: torch.device,
    cache_bytes: int | None = None,
    *,
    hidden_state_cache: HiddenStateCache | None = None,
    threads: int = 1,
) -> Scorer:
    """Returns the fastest scorer that works for a model on a device.

    Args:
        model: the model, whose network is moved to the device.
        device: the device to compute on.
        cache_bytes: the size of the word cache, if there is one.
        hidden_state_cache: the cache of the hidden states of a frozen transformer; None to compute them for each pool.
        threads: torch threads for a transformer on a CPU.

    Raises:
        ModelError: the features of a word are not finite.
        ConfigError: numba's compiler is disabled.
    """
    model.network.to(device)
    transformer = None
    if model.transformer is not None:
        transformer = TransformerRunner(model, device, hidden_state_cache, threads=threads)
    if can_cache(model, device):
        try:
            from tagger.tagging.cached_scorer import CachedScorer

            return CachedScorer(model, cache_bytes, transformer)
        except TaggerError:
            raise
        except Exception as error:  # whatever a compiler may raise
            log.warning("tagging is slow, because compiled kernels do not work here: %s", error)
    return TorchScorer(model, device, transformer)
