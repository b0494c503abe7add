"""The heads of a network: a linear-chain CRF, or a softmax per token. Both decode only paths that the scheme allows.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchcrf import CRF

from tagger.choices import Reduction
from tagger.nn.crf.chain_scores import UNKNOWN
from tagger.nn.crf.linear_chain import IndependentTags, LinearChain, reduce_losses

MAX_CHAINED_TAGS = 2_000
"""The most tags of a chain; its memory and time grow with their square."""


class Constraints(NamedTuple):
    """Which tags may start a sentence (K,), end it (K,), and follow one another (K, K), as booleans."""

    start: Tensor
    end: Tensor
    transitions: Tensor


class _Head(nn.Module):
    start_allowed: Tensor
    end_allowed: Tensor
    transitions_allowed: Tensor
    tag_weights: Tensor | None

    def __init__(self, constraints: Constraints, tag_weights: Tensor | None) -> None:
        super().__init__()
        # Derived from the tags and the config, so never saved.
        self.register_buffer("start_allowed", constraints.start, persistent=False)
        self.register_buffer("end_allowed", constraints.end, persistent=False)
        self.register_buffer("transitions_allowed", constraints.transitions, persistent=False)
        self.register_buffer("tag_weights", tag_weights, persistent=False)

    @abstractmethod
    def chain(self, emissions: Tensor, lengths: Tensor) -> LinearChain:
        """Returns the distribution over allowed paths: emissions (B, T, K), lengths (B,)."""

    def _partial_loss(
        self, every: LinearChain, emissions: Tensor, gold: Tensor, lengths: Tensor, reduction: Reduction
    ) -> Tensor:
        """Returns −log of the probability that the distribution `every` gives to the allowed paths through gold tags.

        Args:
            every: the distribution over all paths.
            emissions: (B, T, K).
            gold: (B, T, K) whether a token may have a tag, or the log of the weight of the tag; padding may hold
                anything.
            lengths: (B,).
            reduction: as of `LinearChain.negative_log_likelihood`.

        Raises:
            ValueError: a sentence has no allowed path through its gold tags, or there are tag weights.
        """
        if self.tag_weights is not None:
            raise ValueError("tag weights require one known gold tag per token")
        if gold.shape != emissions.shape:
            raise ValueError(f"gold must be {tuple(emissions.shape)}, got {tuple(gold.shape)}")
        sums = emissions.masked_fill(~gold, -math.inf) if gold.dtype == torch.bool else emissions + gold
        agreeing = self.chain(sums, lengths)
        values = every.log_partition() - agreeing.log_partition()
        return reduce_losses(values, lengths, reduction, values.dtype)

    def _constrain(self, transitions: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the scores, −inf where the constraints forbid."""
        return (
            transitions.masked_fill(~self.transitions_allowed, -math.inf),
            start.masked_fill(~self.start_allowed, -math.inf),
            end.masked_fill(~self.end_allowed, -math.inf),
        )


class CRFHead(_Head):
    """A linear-chain CRF (Lafferty et al., 2001) with the parameters of pytorch-crf.

    Args:
        constraints: what the tag scheme allows.
        forbid_in_training: exclude forbidden paths from the partition in training too.
        tag_weights: (K,) by gold tag, weights of its log-probability given its predecessor, in the loss.
    """

    def __init__(
        self, constraints: Constraints, *, forbid_in_training: bool = False, tag_weights: Tensor | None = None
    ) -> None:
        super().__init__(constraints, tag_weights)
        self.crf = CRF(len(constraints.start), batch_first=True)
        self.forbid_in_training = forbid_in_training

    def chain(self, emissions: Tensor, lengths: Tensor) -> LinearChain:
        """Returns the distribution over allowed paths: emissions (B, T, K), lengths (B,)."""
        return LinearChain(emissions, *self._constrain(*self._scores()), lengths)

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor, *, reduction: Reduction = "sentence") -> Tensor:
        """Returns the negative log-likelihood in nats; see `LinearChain.negative_log_likelihood`.

        Gold tags may also be (B, T, K) log weights, which are added to the scores of paths through these tags. Of
        booleans or log weights, only the paths that the constraints allow are summed.
        """
        scores = self._constrain(*self._scores()) if self.forbid_in_training else self._scores()
        chain = LinearChain(emissions, *scores, lengths)
        if gold.dim() == 3:
            return self._partial_loss(chain, emissions, gold, lengths, reduction)
        return chain.negative_log_likelihood(gold, weights=self.tag_weights, reduction=reduction)

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions


class SoftmaxHead(_Head):
    """A softmax per token in the loss; decoding takes the best allowed path.

    Args:
        constraints: what the tag scheme allows.
        tag_weights: (K,) by gold tag, weights of its log-probability in the loss.
    """

    def __init__(self, constraints: Constraints, *, tag_weights: Tensor | None = None) -> None:
        super().__init__(constraints, tag_weights)
        is_unconstrained = all(bool(part.all()) for part in constraints)
        self._is_independent = is_unconstrained and len(constraints.start) > MAX_CHAINED_TAGS

    def chain(self, emissions: Tensor, lengths: Tensor) -> LinearChain:
        """Returns the distribution over allowed paths: emissions (B, T, K), lengths (B,)."""
        if self._is_independent:
            return IndependentTags(emissions, lengths)
        zeros = torch.zeros_like(self.transitions_allowed, dtype=emissions.dtype)
        return LinearChain(emissions, *self._constrain(zeros, zeros[0], zeros[0]), lengths)

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor, *, reduction: Reduction = "sentence") -> Tensor:
        """Returns the negative log-likelihood in nats; arguments as `CRFHead.loss`."""
        mask = torch.arange(emissions.shape[1], device=emissions.device) < lengths[:, None]
        emissions = torch.where(mask[:, :, None], emissions, 0.0)
        if gold.dim() == 3:
            return self._partial_loss(IndependentTags(emissions, lengths), emissions, gold, lengths, reduction)
        values = F.cross_entropy(
            emissions.transpose(1, 2),
            gold.masked_fill(~mask, UNKNOWN),
            self.tag_weights,
            ignore_index=UNKNOWN,
            reduction="none",
        )
        return reduce_losses(values.sum(1), lengths, reduction, emissions.dtype)
