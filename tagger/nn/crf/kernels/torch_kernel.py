"""Exact inference in plain torch, in the log domain, on any device; autograd goes through it any number of times.

Shapes in this module: B sentences, T tokens in the longest one, K tags.

All of it rests on one sweep from the last token to the first: the log of the summed scores of all ways to go on after
a tag (Rabiner, 1989, the backward variable). They are kept within range by taking off a shift at each token. From them
follow the probabilities of the next tag given the one before, hence everything else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tagger.choices import Kernel
from tagger.nn.crf.chain import Chain

AT_ONCE = 2**22  # numbers in the largest tensor that is made for many spans at a time
FLOOR = -1e30  # stands for −inf inside the sums: adding to it leaves it there, and its gradient is 0, not NaN


class Messages(NamedTuple):
    """What the neighbours of a token say of it.

    Attributes:
        log_partition: (B,).
        suffix: (B, T, K) the log of the summed scores of all ways to go on after a tag, but for a number per token.
        marginals: (B, T, K) the probability of each tag at each token, 0 in padding.
    """

    log_partition: Tensor
    suffix: Tensor
    marginals: Tensor


def negative_log_likelihood(chain: Chain, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns (B,) in nats, in float64: the log-partition less the score of the gold path, if there is one.

    Not finite where there is no path, or where a gold tag is no id in [0, K).

    Args:
        chain: the scores.
        gold: (B, T) tag ids, anything in padding.
        weights: (K,) of the conditional log-probability of a gold tag given the one before, by gold tag.
    """
    with torch.autocast(chain.emissions.device.type, enabled=False):
        bounded = floored(chain)
        if gold is None:
            return _partition(bounded)
        inside = chain.inside
        known = ((gold >= 0) & (gold < len(chain.start)) | ~inside).all(1)
        gold = torch.where(inside, gold, 0).clamp(0, len(chain.start) - 1)
        scores = _gains(chain, gold[:, None])[:, 0]  # (B, T)
        if weights is None:
            return torch.where(known, _partition(bounded) - scores.sum(1), torch.nan)
        suffix, shifts = _sweep(bounded, *_factors(bounded))
        partition = _log_partition(bounded, suffix, shifts)
        weight = torch.where(inside, weights[gold], 0).to(scores)
        # log p(tag | tag before) = gain + suffix[token] − suffix[token − 1], where the partition precedes token 0.
        going_on = suffix.gather(2, gold[:, :, None])[:, :, 0] + shifts
        change = torch.where(inside[:, 1:], weight[:, 1:] - weight[:, :-1], 0.0)
        loss = weight[:, 0] * partition - (weight * scores).sum(1) + (change * going_on[:, :-1]).sum(1)
        return torch.where(known, loss, torch.nan)


def path_scores(chain: Chain, paths: Tensor) -> Tensor:
    """Returns (B, N) in float64 the scores of N paths (B, N, T) a sentence, their ids in [0, K) in padding too."""
    return torch.where(chain.fits[:, None], _gains(chain, paths).sum(2), torch.nan)


def messages(chain: Chain) -> Messages:
    """Returns what follows from the scores at each token; not a number where there is no path."""
    with torch.autocast(chain.emissions.device.type, enabled=False):
        chain = floored(chain)
        factors, highest = _factors(chain)
        suffix, shifts = _sweep(chain, factors, highest)
        marginals, _ = _expected(chain, suffix, factors)
        return Messages(
            _log_partition(chain, suffix, shifts), suffix, marginals.masked_fill(~chain.inside[:, :, None], 0.0)
        )


def best_path(chain: Chain) -> tuple[Tensor, Tensor]:
    """Returns the path (B, T) of the highest score, 0 in padding, and its score (B,) in float64 (Viterbi, 1967).

    Of equal scores the lowest tag id is taken, from the last token back.
    """
    emissions, transitions, start, end, _ = chain
    inside = chain.inside
    scores = start + emissions[:, 0]
    stay = torch.arange(len(start), device=start.device).expand_as(scores)
    pointers = []
    for token in range(1, emissions.shape[1]):
        extended, pointer = (shifted(scores)[0][:, :, None] + transitions).max(1)
        here = inside[:, token, None]
        scores = torch.where(here, extended + emissions[:, token], scores)
        pointers.append(torch.where(here, pointer, stay))
    tag = (scores + end).max(1).indices
    path = [tag]
    for pointer in reversed(pointers):
        path.append(pointer.gather(1, path[-1][:, None])[:, 0])
    found = torch.stack(path[::-1], 1).masked_fill(~inside, 0)
    broken = (emissions.isnan().any(2) & inside).any(1)
    return found, path_scores(chain, found[:, None])[:, 0].masked_fill(broken, torch.nan)


def span_probabilities(chain: Chain, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor) -> Tensor:
    """Returns (N,) how probable it is that a sentence holds exactly each entity, given the messages of the chain.

    Args:
        chain: the scores.
        messages: theirs.
        spans: (N, 4) sentence, first token, the token after the last, and type.
        members: (types, K) booleans, the tags that a token of an entity of this type can have.
        joins: (K, K) booleans, which two tags in a row belong to one entity.
    """
    after, longest = following(chain, messages), int((spans[:, 2] - spans[:, 1]).max())
    parts = torch.split(spans, max(1, AT_ONCE // len(chain.start) ** 2))
    with torch.autocast(chain.emissions.device.type, enabled=False):
        return torch.cat(
            [_span_probabilities(chain, messages.marginals, after, part, members, joins, longest) for part in parts]
        )


def _span_probabilities(
    chain: Chain, marginals: Tensor, after: Tensor, spans: Tensor, members: Tensor, joins: Tensor, longest: int
) -> Tensor:
    sentence, first, stop, kind = spans.unbind(1)

    def follows(token: Tensor) -> Tensor:  # (N, K, K) the probability of the tag at a token given the one before
        return next_tag(chain, after[sentence, token.clamp_max(after.shape[1] - 1)][:, None]).exp()

    before = marginals[sentence, (first - 1).clamp_min(0)]
    entered = (before[:, None] @ follows(first).masked_fill(joins, 0.0))[:, 0]
    held = torch.where((first == 0)[:, None], before, entered) * members[kind]  # (N, K) by the tag of the last token
    for step in range(1, longest):
        token = first + step
        going = (held[:, None] @ follows(token).masked_fill(~joins, 0.0))[:, 0] * members[kind]
        held = torch.where((token < stop)[:, None], going, held)
    left = follows(stop).masked_fill(joins, 0.0).sum(2)
    return (held * torch.where((stop == chain.lengths[sentence])[:, None], 1.0, left)).sum(1)


def next_tag(chain: Chain, after: Tensor) -> Tensor:
    """Returns (…, K, K) the finite log-probabilities of a tag given the one before it, from (…, 1, K) its scores."""
    return torch.log_softmax(chain.transitions.clamp_min(FLOOR) + after, -1)


def following(chain: Chain, messages: Messages) -> Tensor:
    """Returns (B, T, K) the scores of a tag and all that follows it, but for a number per token, finite."""
    return floored(chain).emissions + messages.suffix.clamp_min(FLOOR)


def no_gradient(kernel: Kernel, of: str) -> RuntimeError:
    """Returns the error of a kernel that would have to differentiate what only this one can."""
    return RuntimeError(f"the {kernel} CRF kernel has no gradient of {of}; ask for kernel='torch'")


def floored(chain: Chain) -> Chain:
    """Returns a chain without −inf or anything in its padding, which gives the same probabilities."""
    emissions = torch.where(chain.inside[:, :, None], chain.emissions, 0.0)
    return chain._replace(emissions=emissions).changed(lambda scores: scores.clamp_min(FLOOR))


def shifted(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (B, K) less their highest, and that (B, 1), or 0 where all are −inf."""
    highest = scores.detach().amax(1, keepdim=True)
    shift = torch.where(highest == -torch.inf, 0.0, highest)
    return scores - shift, shift


def _sweep(chain: Chain, factors: Tensor | None, highest: Tensor) -> tuple[Tensor, Tensor]:
    """Returns for each token of a floored chain the suffix (B, T, K) less a shift (B, T), and these, without gradient.

    The sentences are moved to the right, so that all end at one place and no step needs to know which have begun.
    """
    _, tokens, tags = chain.emissions.shape
    places = torch.arange(tokens, device=chain.lengths.device)
    away = tokens - chain.lengths[:, None]
    moved = (places - away).clamp(0, tokens - 1)[:, :, None].expand(-1, -1, tags)
    emissions = chain.emissions.gather(1, moved)
    end = chain.end.expand(len(away), -1)
    suffix, shifts = (
        _log_sums(emissions, chain.transitions, end) if factors is None else _products(emissions, factors, end)
    )
    total = (shifts.detach().to(_wide(shifts)) + highest * (places > 0)).cumsum(1).flip(1)
    back = (places + away).clamp(0, tokens - 1)
    return suffix.gather(1, back[:, :, None].expand(-1, -1, tags)), total.gather(1, back)


def _products(emissions: Tensor, factors: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the suffixes (B, T, K) and, from the last place to the first, their shifts (B, T), by matrix products.

    A token takes a weight down by e^40 at most: float64 has room for 16 of them, float32 for one.
    """
    highest = emissions.detach().amax(2, keepdim=True)
    here = end.to(factors).exp()
    weights, totals, one = [here], [torch.ones_like(here[:, :1])], torch.ones_like(here[:, :1])
    for count, weight in enumerate((emissions - highest).to(factors).exp().unbind(1)[:0:-1], 1):
        here = (weight * here) @ factors
        total = one
        if factors.dtype == torch.float32 or count % 16 == 0:
            total = here.detach().sum(1, keepdim=True)
            here = here / total
        weights.append(here)
        totals.append(total)
    shifts = torch.cat(totals, 1).log()
    shifts[:, 1:] += highest[:, 1:, 0].flip(1)
    return torch.stack(weights[::-1], 1).log().to(end), shifts


def _log_sums(emissions: Tensor, transitions: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Does the same for transitions of any size, in the log domain."""
    here = end
    suffix, shifts = [here], [torch.zeros_like(here[:, :1])]
    for row in emissions.unbind(1)[:0:-1]:
        after = row + here
        shift = after.detach().amax(1, keepdim=True)
        here = torch.logsumexp(transitions + (after - shift)[:, None], 2)
        suffix.append(here)
        shifts.append(shift)
    return torch.stack(suffix[::-1], 1), torch.cat(shifts, 1)


def _expected(chain: Chain, suffix: Tensor, factors: Tensor | None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Returns (B, T, K) the probability of each tag, anything in padding, by the suffixes of a floored chain.

    And the function from weights (B, T − 1) to (K, K) the number of times that a tag is expected to follow another.
    """
    after = chain.emissions + suffix
    here = torch.softmax(chain.start + after[:, 0], 1)
    if factors is None:
        return _expected_by_logs(chain.transitions, here, after.unbind(1)[1:])
    is_reversed = factors.T.contiguous()
    going = (after - after.detach().amax(2, keepdim=True)).to(factors).exp()[:, 1:]
    ratios = 1 / (going @ factors)  # over all that may follow a tag
    passed = []
    if len(ratios[0]):
        passed.append(here.to(factors) * ratios[:, 0])
        for ratio in (going[:, :-1] * ratios[:, 1:]).unbind(1):
            passed.append((passed[-1] @ is_reversed) * ratio)
    flow = torch.stack(passed, 1) if passed else ratios
    shares = torch.cat([here[:, None], ((flow @ is_reversed) * going).to(here)], 1)
    return shares, lambda weights: (is_reversed * torch.einsum("bti,btj->ij", flow * weights[:, :, None], going)).to(
        here
    )


def _expected_by_logs(
    transitions: Tensor, here: Tensor, after: tuple[Tensor, ...]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Does the same for transitions of any size, from (B, K) the probabilities of the first token."""
    shares = [here]
    for row in after:
        shares.append((shares[-1][:, None] @ torch.softmax(transitions + row[:, None], 2))[:, 0])

    def counts(weights: Tensor) -> Tensor:
        found = torch.zeros_like(transitions)
        for weight, share, row in zip(weights.unbind(1), shares, after, strict=False):
            passed = (weight[:, None] * share)[:, :, None]
            found = found + (passed * torch.softmax(transitions + row[:, None], 2)).sum(0)
        return found

    return torch.stack(shares, 1), counts


def _factors(chain: Chain) -> tuple[Tensor | None, Tensor]:
    """Returns (K, K) exp(transitions − highest), from column to row, and the highest; or None and 0.

    Matrix products of exponentials are faster than sums in the log domain. As long as the transitions lie so close that
    every tag keeps its way to the best next one, all that they lose is what another outweighs by far.
    """
    highest = chain.transitions.detach().amax()
    if highest - chain.transitions.detach().amin() < 20 and chain.end.detach().abs().amax() < 20:
        return (chain.transitions - highest).to(_wide(highest)).exp().T.contiguous(), highest
    return None, torch.zeros_like(highest)


class _LogPartition(torch.autograd.Function):
    """The partition of a floored chain; its gradient is written down, which halves the cost, and has one itself."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        chain = Chain(*tensors)
        ctx.suffix, shifts = _sweep(chain, *_factors(chain))
        return _log_partition(chain, ctx.suffix, shifts)

    @staticmethod
    def backward(ctx: Any, share: Tensor) -> tuple[Tensor | None, ...]:
        chain = Chain(*ctx.saved_tensors)
        share = share.to(chain.emissions)[:, None]
        with torch.autocast(share.device.type, enabled=False):
            factors, highest = _factors(chain)
            suffix = _sweep(chain, factors, highest)[0] if torch.is_grad_enabled() else ctx.suffix
            marginals, counts = _expected(chain, suffix, factors)
            marginals = torch.where(chain.inside[:, :, None], marginals * share[:, :, None], 0.0)
            last = (chain.lengths - 1).clamp(0, marginals.shape[1] - 1)[:, None, None].expand(-1, 1, marginals.shape[2])
            by_transition = counts(share * chain.inside[:, 1:])
            return marginals, by_transition, marginals[:, 0].sum(0), marginals.gather(1, last)[:, 0].sum(0), None


def _partition(chain: Chain) -> Tensor:
    partition: Tensor = _LogPartition.apply(*chain)  # type: ignore[no-untyped-call]
    return partition


def _log_partition(chain: Chain, suffix: Tensor, shifts: Tensor) -> Tensor:
    partition = torch.logsumexp(chain.start + chain.emissions[:, 0] + suffix[:, 0], 1).to(shifts) + shifts[:, 0]
    return torch.where(chain.fits, torch.where(partition < FLOOR / 2, -torch.inf, partition), torch.nan)


def _gains(chain: Chain, paths: Tensor) -> Tensor:
    """Returns (B, N, T) in float64 what each token adds to the scores of N paths (B, N, T)."""
    emissions, transitions, start, end, lengths = chain
    wide, tags = _wide(emissions), len(start)
    last = (lengths - 1).clamp(0, paths.shape[2] - 1)[:, None, None].expand(-1, paths.shape[1], 1)
    # index_select, since its gradient takes a tenth of the time of that of an index in brackets.
    steps = (paths[:, :, :-1] * tags + paths[:, :, 1:]).flatten()
    moved = transitions.flatten().index_select(0, steps).view(*paths.shape[:2], -1)
    begun, ended = (
        scores.index_select(0, ids.flatten()).view(ids.shape)
        for scores, ids in ((start, paths[:, :, :1]), (end, paths.gather(2, last)))
    )
    emitted = emissions.gather(2, paths.transpose(1, 2)).transpose(1, 2)
    gains = torch.cat([begun, moved], 2).to(wide) + emitted.to(wide)
    return torch.where(chain.inside[:, None], gains, 0.0).scatter_add(2, last, ended.to(wide))


def _wide(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64  # which has no float64
