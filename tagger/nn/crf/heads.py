"""What stands over the encoder: a linear-chain CRF or a softmax for each token; either never breaks the tag scheme.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchcrf import CRF

from tagger.choices import Reduction
from tagger.nn.crf import functions
from tagger.nn.crf.chain import UNKNOWN, Chain

_MAX_CHAINED_TAGS = 2_000


class Allowed(NamedTuple):
    """Which tags may start a sentence (K,), end it (K,) and follow one another (K, K), as booleans."""

    start: Tensor
    end: Tensor
    transitions: Tensor


class _Head(nn.Module):
    """Answers what can be asked of the allowed paths, which share all of the probability between them.

    Every question takes emissions (B, T, K) and lengths (B,); the function of its name in `tagger.nn.crf.functions`
    answers it and tells what comes back.
    """

    start_allowed: Tensor
    end_allowed: Tensor
    transitions_allowed: Tensor
    tag_weights: Tensor | None

    def __init__(self, allowed: Allowed, tag_weights: Tensor | None) -> None:
        super().__init__()
        # All of these follow from the tags and the recipe, so they are never saved.
        self.register_buffer("start_allowed", allowed.start, persistent=False)
        self.register_buffer("end_allowed", allowed.end, persistent=False)
        self.register_buffer("transitions_allowed", allowed.transitions, persistent=False)
        self.register_buffer("tag_weights", tag_weights, persistent=False)

    def _parameters_of_chain(self, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError

    def chain(self, emissions: Tensor, lengths: Tensor) -> Chain:
        """Returns the scores of the allowed paths, −inf for all others: what the plain functions begin with."""
        return Chain(emissions, *self._constrained(*self._parameters_of_chain(emissions)), lengths)

    def _constrained(self, transitions: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            transitions.masked_fill(~self.transitions_allowed, -math.inf),
            start.masked_fill(~self.start_allowed, -math.inf),
            end.masked_fill(~self.end_allowed, -math.inf),
        )

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best paths (B, T), 0 in padding."""
        return self.best_path(emissions, lengths)[0]

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return functions.log_partition(*self.chain(emissions, lengths))

    def path_score(self, emissions: Tensor, lengths: Tensor, path: Tensor) -> Tensor:
        return functions.path_score(*self.chain(emissions, lengths), path)

    def best_path(self, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return functions.best_path(*self.chain(emissions, lengths))

    def best_paths(self, emissions: Tensor, lengths: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
        return functions.best_paths(*self.chain(emissions, lengths), count=count)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return functions.marginals(*self.chain(emissions, lengths))

    def pairwise_marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return functions.pairwise_marginals(*self.chain(emissions, lengths))

    def entropy(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return functions.entropy(*self.chain(emissions, lengths))

    def span_probabilities(
        self, emissions: Tensor, lengths: Tensor, spans: Tensor, members: Tensor, joins: Tensor
    ) -> Tensor:
        return functions.span_probabilities(*self.chain(emissions, lengths), spans, members, joins)

    def sample(
        self, emissions: Tensor, lengths: Tensor, *, count: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        return functions.sample(*self.chain(emissions, lengths), count=count, generator=generator)


class CRFHead(_Head):
    """A linear-chain CRF (Lafferty et al., 2001) with the parameters of pytorch-crf.

    Args:
        allowed: what the tag scheme allows.
        forbid_in_training: give forbidden paths no share of the probability in training either.
        tag_weights: (K,) of the log-probability of a gold tag given the one before it, in the loss.
    """

    def __init__(
        self, allowed: Allowed, *, forbid_in_training: bool = False, tag_weights: Tensor | None = None
    ) -> None:
        super().__init__(allowed, tag_weights)
        self.crf = CRF(len(allowed.start), batch_first=True)
        self.forbid_in_training = forbid_in_training

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor, *, reduction: Reduction = "sentence") -> Tensor:
        """Returns the negative log-likelihood in nats; arguments and errors as `functions.negative_log_likelihood`."""
        weights = self._parameters_of_chain(emissions)
        if self.forbid_in_training:
            weights = self._constrained(*weights)
        return functions.negative_log_likelihood(
            emissions, *weights, lengths, gold, weights=self.tag_weights, reduction=reduction
        )

    def _parameters_of_chain(self, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions


class SoftmaxHead(_Head):
    """A distribution over the tags for each token by itself, in the loss; the best allowed path is decoded.

    Args:
        allowed: what the tag scheme allows.
        tag_weights: (K,) of the log-probability of a gold tag in the loss.
    """

    def __init__(self, allowed: Allowed, *, tag_weights: Tensor | None = None) -> None:
        super().__init__(allowed, tag_weights)
        # A chain takes memory and time by the square of the tags, for nothing where each tag may follow each.
        self._independent = len(allowed.start) > _MAX_CHAINED_TAGS and all(bool(part.all()) for part in allowed)

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Returns the best paths (B, T), 0 in padding."""
        if not self._independent:
            return super().decode(emissions, lengths)
        return emissions.argmax(2).masked_fill(~_inside(emissions, lengths), 0)

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Answers as the function of its name in `functions`."""
        if not self._independent:
            return super().log_partition(emissions, lengths)
        return emissions.logsumexp(2).masked_fill(~_inside(emissions, lengths), 0.0).sum(1)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Answers as the function of its name in `functions`."""
        if not self._independent:
            return super().marginals(emissions, lengths)
        return emissions.softmax(2).masked_fill_(~_inside(emissions, lengths)[:, :, None], 0.0)

    def best_paths(self, emissions: Tensor, lengths: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
        """Answers as the function of its name in `functions`."""
        if not self._independent:
            return super().best_paths(emissions, lengths, count=count)
        # A path with a tag that is not among the `count` best of its token is worse than `count` others.
        best, tags = emissions.topk(min(count, emissions.shape[2]), dim=2)
        edge = best.new_zeros(best.shape[2])
        paths, scores = functions.best_paths(
            best, best.new_zeros(len(edge), len(edge)), edge, edge, lengths, count=count
        )
        paths = tags[:, None].expand(-1, paths.shape[1], -1, -1).gather(3, paths[..., None])[..., 0]
        unused = ~_inside(emissions, lengths)[:, None] | (scores == -math.inf)[..., None]
        return paths.masked_fill(unused, 0), scores

    def _parameters_of_chain(self, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        zeros = torch.zeros_like(self.transitions_allowed, dtype=emissions.dtype)
        return zeros, zeros[0], zeros[0]

    def loss(self, emissions: Tensor, gold: Tensor, lengths: Tensor, *, reduction: Reduction = "sentence") -> Tensor:
        """Returns the negative log-likelihood in nats; arguments as those of a CRF's."""
        inside = _inside(emissions, lengths)
        emissions = torch.where(inside[:, :, None], emissions, 0.0)
        if gold.dtype == torch.bool:
            if self.tag_weights is not None:
                raise ValueError("tags have weights only where gold leaves no choice")
            agreeing = emissions.masked_fill(~gold, -math.inf).logsumexp(2)
            values = (emissions.logsumexp(2) - agreeing).masked_fill(~inside, 0.0)
        else:
            known = gold.masked_fill(~inside, UNKNOWN)
            values = F.cross_entropy(
                emissions.transpose(1, 2), known, self.tag_weights, ignore_index=UNKNOWN, reduction="none"
            )
        return functions.reduced(values.sum(1), lengths, reduction, emissions.dtype)


def _inside(emissions: Tensor, lengths: Tensor) -> Tensor:
    """Returns (B, T) which tokens are not padding."""
    return torch.arange(emissions.shape[1], device=emissions.device) < lengths[:, None]
