"""Exact inference in a linear chain, as plain functions of scores.

Shapes in this module: B sentences, T tokens in the longest one, K tags. Everywhere `emissions` is (B, T, K), the score
of each tag at each token; `transitions` is (K, K), from row to column; `start` and `end` are (K,); `lengths` is (B,),
each in [1, T]. Padding may hold any finite number. A score of −inf forbids. Scores are in nats.
"""

import torch
from torch import Tensor


def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Returns (B,) the log of the sum over all paths of exp(score), by the forward algorithm (Rabiner, 1989)."""
    scores = start + emissions[:, 0]  # (B, K) of all paths to here, by their last tag
    inside = _inside(emissions, lengths)
    for token in range(1, emissions.shape[1]):
        extended = torch.logsumexp(scores[:, :, None] + transitions, 1) + emissions[:, token]
        scores = torch.where(inside[token], extended, scores)
    return torch.logsumexp(scores + end, 1)


def path_score(
    emissions: Tensor, path: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Returns (B,) the score of one path (B, T) for each sentence, its ids in [0, K) in padding too."""
    tokens = torch.arange(path.shape[1], device=path.device)
    inside = tokens < lengths[:, None]  # (B, T)
    emitted = emissions.gather(2, path[:, :, None])[:, :, 0]
    moved = transitions[path[:, :-1], path[:, 1:]]
    last = path.gather(1, lengths[:, None] - 1)[:, 0]
    return (
        start[path[:, 0]]
        + emitted.masked_fill(~inside, 0.0).sum(1)
        + moved.masked_fill(~inside[:, 1:], 0.0).sum(1)
        + end[last]
    )


def best_path(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the path (B, T) of the highest score, 0 in padding, and that score (B,) (Viterbi, 1967)."""
    scores = start + emissions[:, 0]
    inside = _inside(emissions, lengths)
    stay = torch.arange(emissions.shape[2], device=emissions.device).expand_as(scores)
    pointers = []
    for token in range(1, emissions.shape[1]):
        extended, pointer = (scores[:, :, None] + transitions).max(1)
        scores = torch.where(inside[token], extended + emissions[:, token], scores)
        pointers.append(torch.where(inside[token], pointer, stay))
    best, tag = (scores + end).max(1)
    path = [tag]
    for pointer in reversed(pointers):
        path.append(pointer.gather(1, path[-1][:, None])[:, 0])
    found = torch.stack(path[::-1], 1)
    return found.masked_fill(~inside[:, :, 0].T, 0), best


def _inside(emissions: Tensor, lengths: Tensor) -> Tensor:
    """Returns (T, B, 1) which tokens are no padding."""
    tokens = torch.arange(emissions.shape[1], device=emissions.device)
    return (tokens[:, None] < lengths)[:, :, None]
