"""What stands over the encoder: a linear-chain CRF or a softmax for each token; either never breaks the tag scheme.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchcrf import CRF

from tagger.nn.crf.functions import best_path, log_partition, path_score


class Allowed(NamedTuple):
    """Which tags may start a sentence (K,), end it (K,) and follow one another (K, K), as booleans."""

    start: Tensor
    end: Tensor
    transitions: Tensor


class _Head(nn.Module):
    """Keeps what is allowed beside the weights: it derives from the tags, so it is never saved."""

    start_allowed: Tensor
    end_allowed: Tensor
    transitions_allowed: Tensor

    def __init__(self, allowed: Allowed) -> None:
        super().__init__()
        self.register_buffer("start_allowed", allowed.start, persistent=False)
        self.register_buffer("end_allowed", allowed.end, persistent=False)
        self.register_buffer("transitions_allowed", allowed.transitions, persistent=False)

    def _constrained(self, transitions: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            transitions.masked_fill(~self.transitions_allowed, -math.inf),
            start.masked_fill(~self.start_allowed, -math.inf),
            end.masked_fill(~self.end_allowed, -math.inf),
        )


class CRFHead(_Head):
    """A linear-chain CRF (Lafferty et al., 2001) with the parameters of pytorch-crf.

    Args:
        allowed: what the tag scheme allows; decoding keeps to it.
        forbid_in_training: give forbidden paths no share of the probability in training either.
    """

    def __init__(self, allowed: Allowed, *, forbid_in_training: bool = False) -> None:
        super().__init__(allowed)
        self.crf = CRF(len(allowed.start), batch_first=True)
        self.forbid_in_training = forbid_in_training

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
        """Returns the mean negative log-likelihood per sentence, in nats.

        Args:
            emissions: (B, T, K) unnormalised tag scores.
            gold: (B, T) tag ids in [0, K), in padding too.
            lengths: (B,) tokens per sentence, each in [1, T].
        """
        weights = (self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions)
        if self.forbid_in_training:
            weights = self._constrained(*weights)
        gained = path_score(emissions, gold, *weights, lengths)
        return (log_partition(emissions, *weights, lengths) - gained).mean()

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best allowed paths (B, T), 0 in padding."""
        weights = self._constrained(self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions)
        return best_path(emissions, *weights, lengths)[0]


class SoftmaxHead(_Head):
    """A distribution over the tags for each token by itself; the best allowed path is decoded."""

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor) -> Tensor:
        """Returns the mean negative log-likelihood per sentence, in nats; arguments as CRFHead's."""
        inside = torch.arange(gold.shape[1], device=gold.device) < lengths[:, None]
        return F.cross_entropy(emissions[inside], gold[inside], reduction="sum") / len(lengths)

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best allowed paths (B, T), 0 in padding."""
        zeros = torch.zeros_like(emissions[0, 0])
        weights = self._constrained(torch.zeros_like(self.transitions_allowed, dtype=emissions.dtype), zeros, zeros)
        return best_path(emissions, *weights, lengths)[0]
