"""The choice of a way to score: by what is remembered of each word where that can be, else by the network as it is."""

import logging

import torch

from tagger.build import Bundle
from tagger.errors import TaggerError
from tagger.tagging.scoring import Plain, Scoring

log = logging.getLogger(__name__)


def may_remember(bundle: Bundle, device: torch.device) -> bool:
    """Tells whether scores on a device come from what is remembered of words, if that can be compiled there.

    They are the same in any batch.
    """
    single = all(weight.dtype == torch.float32 for weight in bundle.network.parameters())
    return device.type == "cpu" and single and bundle.network.encoder.attention is None


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
            from tagger.tagging.remembering import Remembering

            return Remembering(bundle, cache_bytes)
        except TaggerError:
            raise
        except Exception as error:  # of compilers, of any kind
            log.warning("tagging is slower than it could be, since nothing can be compiled here: %s", error)
    return Plain(bundle, device)
