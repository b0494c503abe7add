"""Exact inference in plain torch, in the log domain, on any device; autograd goes through it any number of times.

Shapes in this module: B sentences, T tokens in the longest one, K tags.

All of it rests on one sweep from the last token to the first: the log of the summed scores of all ways to go on after
a tag (Rabiner, 1989, the backward variable). They are kept within range by taking off a shift at each token. From them
follow the probabilities of the next tag given the one before, hence everything else.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tagger.nn.crf.chain import Chain

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
        suffix, shifts = _sweep(bounded)
        partition = _log_partition(bounded, suffix[:, 0], shifts[:, 0])
        if gold is None:
            return partition
        inside = chain.inside
        known = ((gold >= 0) & (gold < len(chain.start)) | ~inside).all(1)
        gold = torch.where(inside, gold, 0).clamp(0, len(chain.start) - 1)
        scores = _gains(chain, gold[:, None])[:, 0]  # (B, T)
        if weights is None:
            return torch.where(known, partition - scores.sum(1), torch.nan)
        weight = torch.where(inside, weights[gold], 0).to(scores)
        # log p(tag | tag before) = gain + suffix[token] − suffix[token − 1], where the partition precedes token 0.
        going_on = suffix.gather(2, gold[:, :, None])[:, :, 0] + shifts
        change = torch.where(inside[:, 1:], weight[:, 1:] - weight[:, :-1], 0.0)
        loss = weight[:, 0] * partition - (weight * scores).sum(1) + (change * going_on[:, :-1]).sum(1)
        return torch.where(known, loss, torch.nan)


def path_scores(chain: Chain, paths: Tensor) -> Tensor:
    """Returns (B, N) in float64 the scores of N paths (B, N, T) a sentence, their ids in [0, K) in padding too."""
    return _gains(chain, paths).sum(2)


def messages(chain: Chain) -> Messages:
    """Returns what follows from the scores at each token; not a number where there is no path."""
    with torch.autocast(chain.emissions.device.type, enabled=False):
        chain = floored(chain)
        suffix, shifts = _sweep(chain)
        partition = _log_partition(chain, suffix[:, 0], shifts[:, 0])
        after = chain.emissions + suffix
        share = torch.softmax(chain.start + after[:, 0], 1)
        shares = [share]
        for scores in after.unbind(1)[1:]:
            share = (share[:, None] @ torch.softmax(chain.transitions + scores[:, None], 2))[:, 0]
            shares.append(share)
        marginals = torch.stack(shares, 1).masked_fill(~chain.inside[:, :, None], 0.0)
        return Messages(partition, suffix, marginals)


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
    return found, path_scores(chain, found[:, None])[:, 0]


def floored(chain: Chain) -> Chain:
    """Returns a chain without −inf or anything in its padding, which gives the same probabilities."""
    emissions = torch.where(chain.inside[:, :, None], chain.emissions, 0.0)
    return Chain(*(scores.clamp_min(FLOOR) for scores in (emissions, *chain[1:4])), chain.lengths)


def shifted(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Returns scores (B, K) less their highest, and that (B, 1), or 0 where all are −inf."""
    highest = scores.detach().amax(1, keepdim=True)
    shift = torch.where(highest == -torch.inf, 0.0, highest)
    return scores - shift, shift


def _sweep(chain: Chain) -> tuple[Tensor, Tensor]:
    """Returns for each token of a floored chain the suffix (B, T, K) less a shift (B, T), and these, without gradient.

    The sentences are moved to the right, so that all end at one place and no step needs to know which have begun.
    """
    _, tokens, tags = chain.emissions.shape
    step, highest = _step(chain.transitions)
    places = torch.arange(tokens, device=chain.lengths.device)
    away = tokens - chain.lengths[:, None]
    moved = (places - away).clamp(0, tokens - 1)[:, :, None].expand(-1, -1, tags)
    emissions = chain.emissions.gather(1, moved).unbind(1)
    here = chain.end.expand(len(away), -1)
    suffix, shifts = [here], [torch.zeros_like(here[:, :1])]
    for place in range(tokens - 1, 0, -1):
        after = emissions[place] + here
        shift = after.detach().amax(1, keepdim=True)
        here = step(after - shift)
        suffix.append(here)
        shifts.append(shift)
    total = (torch.cat(shifts, 1).detach().to(_wide(here)) + highest * (places > 0)).cumsum(1).flip(1)
    back = (places + away).clamp(0, tokens - 1)
    return torch.stack(suffix[::-1], 1).gather(1, back[:, :, None].expand(-1, -1, tags)), total.gather(1, back)


def _step(transitions: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Returns the function from scores (B, K) of the next tag to log-sums (B, K) by the tag before, and what to add.

    A matrix product of exponentials is twice as fast as a sum in the log domain. As long as the transitions themselves
    lie within the range of the numbers, every tag keeps its way to the best next one, and nothing that counts is lost.
    """
    highest = transitions.detach().amax()
    if highest - transitions.detach().amin() < (40 if transitions.dtype == torch.float32 else 300):
        factors = (transitions - highest).exp().T
        return lambda after: (after.exp() @ factors).log(), highest
    return lambda after: torch.logsumexp(transitions + after[:, None], 2), torch.zeros_like(highest)


def _log_partition(chain: Chain, suffix: Tensor, shift: Tensor) -> Tensor:
    partition = torch.logsumexp(chain.start + chain.emissions[:, 0] + suffix, 1).to(shift) + shift
    valid = (chain.lengths >= 1) & (chain.lengths <= chain.emissions.shape[1])
    return torch.where(valid, torch.where(partition < FLOOR / 2, -torch.inf, partition), torch.nan)


def _gains(chain: Chain, paths: Tensor) -> Tensor:
    """Returns (B, N, T) in float64 what each token adds to the scores of N paths (B, N, T)."""
    emissions, transitions, start, end, lengths = chain
    wide = _wide(emissions)
    last = (lengths - 1).clamp(0, paths.shape[2] - 1)[:, None]  # (B, 1)
    emitted = emissions.transpose(1, 2).gather(1, paths).to(wide)
    moved = torch.cat([start[paths[:, :, :1]], transitions[paths[:, :, :-1], paths[:, :, 1:]]], 2).to(wide)
    ended = end[paths.gather(2, last[:, None].expand(-1, paths.shape[1], -1))].to(wide)
    tokens = torch.arange(paths.shape[2], device=paths.device)
    ended = torch.where(tokens == last[:, :, None], ended, 0.0)
    return torch.where(chain.inside[:, None], emitted + moved + ended, 0.0)


def _wide(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64  # which has no float64
