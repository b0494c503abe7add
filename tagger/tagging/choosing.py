"""The choice of a way to score: by what is remembered of each word where that can be, else by the network as it is."""

import logging

import torch

from tagger.build import Bundle
from tagger.errors import CheckpointError
from tagger.tagging.scoring import Plain, Scoring

log = logging.getLogger(__name__)


def scoring(bundle: Bundle, device: torch.device) -> Scoring:
    """Returns the fastest way to score on a device that works here.

    Raises:
        CheckpointError: what the model says of a word is not finite.
    """
    network = bundle.network.to(device)
    single = all(weight.dtype == torch.float32 for weight in network.parameters())
    if device.type == "cpu" and single and network.encoder.attention is None:
        try:
            from tagger.tagging.remembering import Remembering

            return Remembering(bundle)
        except CheckpointError:
            raise
        except Exception as error:  # of compilers, of any kind
            log.warning("tagging is slower than it could be, since nothing can be compiled here: %s", error)
    return Plain(bundle, device)
