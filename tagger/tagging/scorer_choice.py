"""The choice of a way to score: by what is remembered of each word where that can be, else by the network as it is."""

import logging

import torch

from tagger.errors import TaggerError
from tagger.model import Bundle
from tagger.nn.embeddings import CharacterCNN, CharacterLSTM
from tagger.tagging.scorer import Plain, Scoring

log = logging.getLogger(__name__)
_CHARACTER_TABLE_BYTES = 2**28  # a table of 20,000 characters, 100 features and a kernel of 5 takes a third of it


def may_remember(bundle: Bundle, device: torch.device) -> bool:
    """Tells whether scores on a device come from what is remembered of words, if that can be compiled there.

    They are the same in any batch.
    """
    single = all(weight.dtype == torch.float32 for weight in bundle.network.parameters())
    small = _character_table_bytes(bundle.network.embedding.characters) <= _CHARACTER_TABLE_BYTES
    return device.type == "cpu" and single and small and bundle.network.encoder.attention is None


def _character_table_bytes(module: CharacterCNN | CharacterLSTM | None) -> int:
    """Returns the memory that a table of what each character gives would take at most while it is computed."""
    if module is None:
        return 0
    if isinstance(module, CharacterCNN):
        features, _, kernel = module.convolution.weight.shape
        return 8 * features * kernel * module.embedding.num_embeddings
    return 4 * 4 * module.width * module.embedding.num_embeddings


def scoring(bundle: Bundle, device: torch.device, cache_bytes: int | None = None) -> Scoring:
    """Returns the fastest way to score on a device that works here.

    Args:
        bundle: the model.
        device: where to compute.
        cache_bytes: the size of the tables of words, if words are remembered.

    Raises:
        CheckpointError: what the model says of a word is not finite.
        ConfigError: compiled functions are switched off.
    """
    bundle.network.to(device)
    if may_remember(bundle, device):
        try:
            from tagger.tagging.cached_scorer import Remembering

            return Remembering(bundle, cache_bytes)
        except TaggerError:
            raise
        except Exception as error:  # of compilers, of any kind
            log.warning("tagging is slower than it could be, since nothing can be compiled here: %s", error)
    return Plain(bundle, device)
