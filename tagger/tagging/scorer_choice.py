"""The choice of a way to score: by what is remembered of each word where that can be, else by the network as it is."""

import logging

import torch

from tagger.errors import TaggerError
from tagger.model import TaggerModel
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM
from tagger.tagging.scorer import Scorer, TorchScorer

log = logging.getLogger(__name__)
_CHARACTER_TABLE_BYTES = 2**28  # a table of 20,000 characters, 100 features and a kernel of 5 takes a third of it


def can_cache(model: TaggerModel, device: torch.device) -> bool:
    """Tells whether scores on a device come from what is remembered of words, if that can be compiled there.

    They are the same in any batch.
    """
    single = all(weight.dtype == torch.float32 for weight in model.network.parameters())
    small = _character_table_bytes(model.network.embedding.characters) <= _CHARACTER_TABLE_BYTES
    return device.type == "cpu" and single and small and model.network.encoder.attention is None


def _character_table_bytes(module: CharacterCNN | CharacterLSTM | None) -> int:
    """Returns the memory that a table of what each character gives would take at most while it is computed."""
    if module is None:
        return 0
    if isinstance(module, CharacterCNN):
        features, _, kernel = module.convolution.weight.shape
        return 8 * features * kernel * module.embedding.num_embeddings
    return 4 * 4 * module.output_dim * module.embedding.num_embeddings


def scoring(model: TaggerModel, device: torch.device, cache_bytes: int | None = None) -> Scorer:
    """Returns the fastest way to score on a device that works here.

    Args:
        model: the model.
        device: where to compute.
        cache_bytes: the size of the tables of words, if words are remembered.

    Raises:
        ModelError: what the model says of a word is not finite.
        ConfigError: compiled functions are switched off.
    """
    model.network.to(device)
    if can_cache(model, device):
        try:
            from tagger.tagging.cached_scorer import CachedScorer

            return CachedScorer(model, cache_bytes)
        except TaggerError:
            raise
        except Exception as error:  # of compilers, of any kind
            log.warning("tagging is slower than it could be, since nothing can be compiled here: %s", error)
    return TorchScorer(model, device)
