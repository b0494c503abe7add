"""The torch kernel: exact inference in the log domain on any device, differentiable any number of times.

Shapes in this module: B sentences, T tokens in the longest one, K tags.

One backward pass computes beta (Rabiner, 1989): the log of the summed exp(score) of all continuations of a path after a
tag. A shift per token keeps beta within range. Transition probabilities follow from beta, and all else from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tagger.choices import Kernel
from tagger.nn.crf.chain_scores import ChainScores

MAX_SPAN_ELEMENTS = 2**22
"""Elements in the largest tensor of `span_probabilities`."""
FLOOR = -1e30
"""Replaces −inf in sums: it absorbs what is added to it, and its gradient is 0, not NaN."""


@dataclass(slots=True)
class Messages:
    """The result of a forward-backward pass.

    Attributes:
        log_partition: (B,).
        marginals: (B, T, K) the probability of each tag at each token, 0 in padding.
        log_beta: `beta`, computed from `exp_beta` if None.
        exp_beta: (B, T, P) exp(beta) in float64, P ≥ K, if float64 holds it.
    """

    log_partition: Tensor
    marginals: Tensor
    log_beta: Tensor | None = None
    exp_beta: Tensor | None = None

    @property
    def beta(self) -> Tensor:
        """(B, T, K) log of the summed exp(score) of all continuations after a tag, up to a constant per token."""
        if self.log_beta is None:
            assert self.exp_beta is not None
            self.log_beta = self.exp_beta[:, :, : self.marginals.shape[2]].log().to(self.marginals.dtype)
        return self.log_beta


def negative_log_likelihood(scores: ChainScores, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns (B,) in nats, in float64: the log-partition minus the score of the gold path, if given.

    Not finite where there is no path, or where a gold tag is not in [0, K).

    Args:
        scores: the scores.
        gold: (B, T) tag ids; padding may hold anything.
        weights: (K,) by gold tag, weights of the log-probability of a gold tag given its predecessor.
    """
    with torch.autocast(scores.emissions.device.type, enabled=False):
        clamped = _clamp_scores(scores)
        if gold is None:
            return _partition(clamped)
        mask = scores.mask
        known = ((gold >= 0) & (gold < len(scores.start)) | ~mask).all(1)
        gold = torch.where(mask, gold, 0).clamp(0, len(scores.start) - 1)
        token_scores = _token_scores(scores, gold[:, None])[:, 0]  # (B, T)
        if weights is None:
            return torch.where(known, _partition(clamped) - token_scores.sum(1), torch.nan)
        beta, shifts = _backward_pass(clamped, *_factors(clamped))
        partition = _log_partition(clamped, beta, shifts)
        weight = torch.where(mask, weights[gold], 0).to(token_scores)
        # log p(tag | previous tag) = score + beta[token] − beta[token − 1], where the log-partition is beta[−1].
        beta_of_gold = beta.gather(2, gold[:, :, None])[:, :, 0] + shifts
        change = torch.where(mask[:, 1:], weight[:, 1:] - weight[:, :-1], 0.0)
        loss = weight[:, 0] * partition - (weight * token_scores).sum(1) + (change * beta_of_gold[:, :-1]).sum(1)
        return torch.where(known, loss, torch.nan)


def path_scores(scores: ChainScores, paths: Tensor) -> Tensor:
    """Returns (B, N) in float64 the scores of paths (B, N, T), whose ids are in [0, K), also in padding."""
    return torch.where(scores.has_valid_length[:, None], _token_scores(scores, paths).sum(2), torch.nan)


def messages(scores: ChainScores) -> Messages:
    """Returns the messages; NaN where there is no path."""
    with torch.autocast(scores.emissions.device.type, enabled=False):
        scores = _clamp_scores(scores)
        factors, highest = _factors(scores)
        beta, shifts = _backward_pass(scores, factors, highest)
        marginals, _ = _expectations(scores, beta, factors)
        marginals = marginals.masked_fill(~scores.mask[:, :, None], 0.0)
        return Messages(_log_partition(scores, beta, shifts), marginals, log_beta=beta)


def best_path(scores: ChainScores) -> tuple[Tensor, Tensor]:
    """Returns the path (B, T) of the highest score, 0 in padding, and its score (B,) in float64 (Viterbi, 1967).

    Of equal scores the lowest tag id wins, from the last token back.
    """
    emissions, transitions, start, end, _ = scores
    mask = scores.mask
    highest = start + emissions[:, 0]
    identity = torch.arange(len(start), device=start.device).expand_as(highest)
    backpointers = []
    for token in range(1, emissions.shape[1]):
        extended, pointer = (subtract_max(highest)[0][:, :, None] + transitions).max(1)
        is_token = mask[:, token, None]
        highest = torch.where(is_token, extended + emissions[:, token], highest)
        backpointers.append(torch.where(is_token, pointer, identity))
    tag = (highest + end).max(1).indices
    tags = [tag]
    for pointer in reversed(backpointers):
        tags.append(pointer.gather(1, tags[-1][:, None])[:, 0])
    path = torch.stack(tags[::-1], 1).masked_fill(~mask, 0)
    has_nan = (emissions.isnan().any(2) & mask).any(1)
    return path, path_scores(scores, path[:, None])[:, 0].masked_fill(has_nan, torch.nan)


def span_probabilities(
    scores: ChainScores, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor
) -> Tensor:
    """Returns (N,) the probabilities that a sentence holds exactly each span; `LinearChain` documents the arguments."""
    continuations, longest = continuation_scores(scores, messages), int((spans[:, 2] - spans[:, 1]).max())
    parts = torch.split(spans, max(1, MAX_SPAN_ELEMENTS // len(scores.start) ** 2))
    with torch.autocast(scores.emissions.device.type, enabled=False):
        return torch.cat(
            [
                _span_probabilities(scores, messages.marginals, continuations, part, members, joins, longest)
                for part in parts
            ]
        )


def _span_probabilities(
    scores: ChainScores,
    marginals: Tensor,
    continuations: Tensor,
    spans: Tensor,
    members: Tensor,
    joins: Tensor,
    longest: int,
) -> Tensor:
    sentence, start, end, kind = spans.unbind(1)

    def transition_probs(token: Tensor) -> Tensor:  # (N, K, K) of the tag at a token given the previous tag
        rows = continuations[sentence, token.clamp_max(continuations.shape[1] - 1)]
        return transition_log_probs(scores, rows[:, None]).exp()

    previous = marginals[sentence, (start - 1).clamp_min(0)]
    entering = (previous[:, None] @ transition_probs(start).masked_fill(joins, 0.0))[:, 0]
    alpha = torch.where((start == 0)[:, None], previous, entering) * members[kind]  # (N, K) within the span so far
    for step in range(1, longest):
        token = start + step
        inner = (alpha[:, None] @ transition_probs(token).masked_fill(~joins, 0.0))[:, 0] * members[kind]
        alpha = torch.where((token < end)[:, None], inner, alpha)
    leaving = transition_probs(end).masked_fill(joins, 0.0).sum(2)
    return (alpha * torch.where((end == scores.lengths[sentence])[:, None], 1.0, leaving)).sum(1)


def transition_log_probs(scores: ChainScores, continuations: Tensor) -> Tensor:
    """Returns (…, K, K) finite log-probabilities of a tag (column) given the previous tag, from (…, 1, K)."""
    return torch.log_softmax(scores.transitions.clamp_min(FLOOR) + continuations, -1)


def continuation_scores(scores: ChainScores, messages: Messages) -> Tensor:
    """Returns (B, T, K) emission plus beta: a tag and all that follows it, up to a constant per token, finite."""
    return _clamp_scores(scores).emissions + messages.beta.clamp_min(FLOOR)


def subtract_max(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (B, K) minus their maximum, and the maximum (B, 1), or 0 where all are −inf."""
    highest = scores.detach().amax(1, keepdim=True)
    shift = torch.where(highest == -torch.inf, 0.0, highest)
    return scores - shift, shift


def missing_gradient_error(kernel: Kernel, result: str) -> RuntimeError:
    """Returns the error of a kernel whose result only the torch kernel differentiates."""
    return RuntimeError(f"the {kernel} CRF kernel has no gradient of {result}; pass kernel='torch'")


def _clamp_scores(scores: ChainScores) -> ChainScores:
    """Returns scores without −inf, and with 0 in padding, that define the same probabilities."""
    emissions = torch.where(scores.mask[:, :, None], scores.emissions, 0.0)
    return scores._replace(emissions=emissions).map(lambda tensor: tensor.clamp_min(FLOOR))


def _backward_pass(scores: ChainScores, factors: Tensor | None, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Returns beta (B, T, K) of clamped scores minus a shift per token, and the shifts (B, T), without gradient.

    Sentences are right-aligned first, so that all end at one position.
    """
    _, tokens, tags = scores.emissions.shape
    positions = torch.arange(tokens, device=scores.lengths.device)
    offsets = tokens - scores.lengths[:, None]
    sources = (positions - offsets).clamp(0, tokens - 1)[:, :, None].expand(-1, -1, tags)
    emissions = scores.emissions.gather(1, sources)
    end = scores.end.expand(len(offsets), -1)
    beta, shifts = (
        _beta_by_log_sums(emissions, scores.transitions, end)
        if factors is None
        else _beta_by_products(emissions, factors, end)
    )
    total = (shifts.detach().to(_wide_dtype(shifts)) + highest * (positions > 0)).cumsum(1).flip(1)
    targets = (positions + offsets).clamp(0, tokens - 1)
    return beta.gather(1, targets[:, :, None].expand(-1, -1, tags)), total.gather(1, targets)


def _beta_by_products(emissions: Tensor, factors: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Returns beta (B, T, K) by matrix products and its shifts (B, T), these from the last position to the first.

    A token scales a weight down by at most e^40: float64 has the range for 16 tokens, float32 for one.
    """
    highest = emissions.detach().amax(2, keepdim=True)
    weights = end.to(factors).exp()
    all_weights, totals, ones = [weights], [torch.ones_like(weights[:, :1])], torch.ones_like(weights[:, :1])
    for count, emission in enumerate((emissions - highest).to(factors).exp().unbind(1)[:0:-1], 1):
        weights = (emission * weights) @ factors
        total = ones
        if factors.dtype == torch.float32 or count % 16 == 0:
            total = weights.detach().sum(1, keepdim=True)
            weights = weights / total
        all_weights.append(weights)
        totals.append(total)
    shifts = torch.cat(totals, 1).log()
    shifts[:, 1:] += highest[:, 1:, 0].flip(1)
    return torch.stack(all_weights[::-1], 1).log().to(end), shifts


def _beta_by_log_sums(emissions: Tensor, transitions: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the result of `_beta_by_products` for transitions of any range."""
    row = end
    beta, shifts = [row], [torch.zeros_like(row[:, :1])]
    for emission in emissions.unbind(1)[:0:-1]:
        continuations = emission + row
        shift = continuations.detach().amax(1, keepdim=True)
        row = torch.logsumexp(transitions + (continuations - shift)[:, None], 2)
        beta.append(row)
        shifts.append(shift)
    return torch.stack(beta[::-1], 1), torch.cat(shifts, 1)


def _expectations(
    scores: ChainScores, beta: Tensor, factors: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Returns the marginals (B, T, K) of clamped scores, anything in padding, and a function of expected counts.

    The function maps weights (B, T − 1) to (K, K): how often a tag is expected to follow another.
    """
    continuations = scores.emissions + beta
    first = torch.softmax(scores.start + continuations[:, 0], 1)
    if factors is None:
        return _expectations_by_log_sums(scores.transitions, first, continuations.unbind(1)[1:])
    transposed = factors.T.contiguous()
    weights = (continuations - continuations.detach().amax(2, keepdim=True)).to(factors).exp()[:, 1:]
    ratios = 1 / (weights @ factors)  # by the sum over the next tags
    rows = []
    if len(ratios[0]):
        rows.append(first.to(factors) * ratios[:, 0])
        for ratio in (weights[:, :-1] * ratios[:, 1:]).unbind(1):
            rows.append((rows[-1] @ transposed) * ratio)
    flow = torch.stack(rows, 1) if rows else ratios
    marginals = torch.cat([first[:, None], ((flow @ transposed) * weights).to(first)], 1)

    def counts(token_weights: Tensor) -> Tensor:
        products = torch.einsum("bti,btj->ij", flow * token_weights[:, :, None], weights)
        return (transposed * products).to(first)

    return marginals, counts


def _expectations_by_log_sums(
    transitions: Tensor, first: Tensor, continuations: tuple[Tensor, ...]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Returns the result of `_expectations` for transitions of any range, from the marginals (B, K) of token 0."""
    marginals = [first]
    for row in continuations:
        marginals.append((marginals[-1][:, None] @ torch.softmax(transitions + row[:, None], 2))[:, 0])

    def counts(token_weights: Tensor) -> Tensor:
        total = torch.zeros_like(transitions)
        for weight, marginal, row in zip(token_weights.unbind(1), marginals, continuations, strict=False):
            flow = (weight[:, None] * marginal)[:, :, None]
            total = total + (flow * torch.softmax(transitions + row[:, None], 2)).sum(0)
        return total

    return torch.stack(marginals, 1), counts


def _factors(scores: ChainScores) -> tuple[Tensor | None, Tensor]:
    """Returns exp(transitions − highest) (K, K), transposed, and the highest transition; or None and 0.

    Matrix products of exponentials are faster than sums in the log domain. They are exact enough while the transitions
    are so close that each tag keeps its way to the best next one: what underflows is then negligible.
    """
    highest = scores.transitions.detach().amax()
    if highest - scores.transitions.detach().amin() < 20 and scores.end.detach().abs().amax() < 20:
        return (scores.transitions - highest).to(_wide_dtype(highest)).exp().T.contiguous(), highest
    return None, torch.zeros_like(highest)


class _LogPartition(torch.autograd.Function):
    """The log-partition of clamped scores, with an explicit and differentiable gradient at half of autograd's cost."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        scores = ChainScores(*tensors)
        ctx.beta, shifts = _backward_pass(scores, *_factors(scores))
        return _log_partition(scores, ctx.beta, shifts)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scores = ChainScores(*ctx.saved_tensors)
        grad_output = grad_output.to(scores.emissions)[:, None]
        with torch.autocast(grad_output.device.type, enabled=False):
            factors, highest = _factors(scores)
            beta = _backward_pass(scores, factors, highest)[0] if torch.is_grad_enabled() else ctx.beta
            marginals, counts = _expectations(scores, beta, factors)
            emissions = torch.where(scores.mask[:, :, None], marginals * grad_output[:, :, None], 0.0)
            _, tokens, tags = emissions.shape
            last = (scores.lengths - 1).clamp(0, tokens - 1)[:, None, None].expand(-1, 1, tags)
            transitions = counts(grad_output * scores.mask[:, 1:])
            return emissions, transitions, emissions[:, 0].sum(0), emissions.gather(1, last)[:, 0].sum(0), None


def _partition(scores: ChainScores) -> Tensor:
    partition: Tensor = _LogPartition.apply(*scores)  # type: ignore[no-untyped-call]
    return partition


def _log_partition(scores: ChainScores, beta: Tensor, shifts: Tensor) -> Tensor:
    partition = torch.logsumexp(scores.start + scores.emissions[:, 0] + beta[:, 0], 1).to(shifts) + shifts[:, 0]
    return torch.where(scores.has_valid_length, torch.where(partition < FLOOR / 2, -torch.inf, partition), torch.nan)


def _token_scores(scores: ChainScores, paths: Tensor) -> Tensor:
    """Returns (B, N, T) in float64 what each token adds to the scores of N paths (B, N, T)."""
    emissions, transitions, start, end, lengths = scores
    wide, tags = _wide_dtype(emissions), len(start)
    last = (lengths - 1).clamp(0, paths.shape[2] - 1)[:, None, None].expand(-1, paths.shape[1], 1)
    # index_select, since its gradient takes a tenth of the time of that of indexing.
    pairs = (paths[:, :, :-1] * tags + paths[:, :, 1:]).flatten()
    transition_scores = transitions.flatten().index_select(0, pairs).view(*paths.shape[:2], -1)
    start_scores, end_scores = (
        vector.index_select(0, ids.flatten()).view(ids.shape)
        for vector, ids in ((start, paths[:, :, :1]), (end, paths.gather(2, last)))
    )
    emission_scores = emissions.gather(2, paths.transpose(1, 2)).transpose(1, 2)
    values = torch.cat([start_scores, transition_scores], 2).to(wide) + emission_scores.to(wide)
    return torch.where(scores.mask[:, None], values, 0.0).scatter_add(2, last, end_scores.to(wide))


def _wide_dtype(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64  # MPS has no float64
