"""All that can be asked of linear chains, as plain functions of scores, exact, each by the kernel that suits it.

Shapes in this module: B sentences, T tokens in the longest one, K tags.

Every function begins with the scores of B sentences: `emissions` (B, T, K), of each tag at each token; `transitions`
(K, K), from row to column; `start` and `end` (K,), of the first and the last tag; `lengths` (B,) tokens, each in
[1, T]. The score of a path is their sum along it, its probability is proportional to exp(score). Padding may hold
anything. A score of −inf forbids; others must lie within ±1e25. Scores are in nats; what is computed is float32, or
float64 if the emissions are.

`kernel` is `portable`, `compiled` (CPU) or `triton` (CUDA); left out, the fastest that can do it is taken. All raise
ValueError, naming sentence and token, where no path has a finite score. What is not a number stays so.
"""

import math

import torch
from torch import Tensor

from tagger.choices import Kernel, Reduction, listed, options
from tagger.nn.crf import choosing
from tagger.nn.crf.chain import UNKNOWN, Chain, refuse_faults
from tagger.nn.crf.kernels import torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, following, next_tag, shifted


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns (B,) the log of the sum over all paths of exp(score) (Rabiner, 1989)."""
    chain = Chain.of(emissions, transitions, start, end, lengths)
    return _finite(choosing.kernel(chain, kernel).negative_log_likelihood(chain), chain).to(chain.emissions)


def path_score(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, path: Tensor
) -> Tensor:
    """Returns (B,) the score of one path (B, T) for each sentence; its padding may hold anything."""
    chain = Chain.of(emissions, transitions, start, end, lengths)
    _expect_shape("path", path, chain.emissions.shape[:2])
    path = torch.where(chain.inside, path, 0)
    wrong = ((path < 0) | (path >= len(start))).nonzero()
    if len(wrong):
        sentence, token = wrong[0].tolist()
        raise ValueError(f"sentence {sentence}, token {token}: {path[sentence, token]} is no id in [0, {len(start)})")
    return _finite(torch_kernel.path_scores(chain, path[:, None])[:, 0], chain).to(chain.emissions)


def negative_log_likelihood(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    gold: Tensor,
    *,
    weights: Tensor | None = None,
    reduction: Reduction = "sentence",
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns the negative log-likelihood of gold tags, in nats (Lafferty et al., 2001).

    Where gold leaves a choice, the probabilities of all its paths are summed (Tsuboi et al., 2008).

    Args:
        emissions: (B, T, K).
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,).
        gold: (B, T) tag ids, −100 for any tag; or (B, T, K) booleans, the tags that a token may have. Padding may hold
            anything.
        weights: (K,) constants, by gold tag, of the log-probability of a tag given the one before it, of which that of
            the path is the sum; gold must leave no choice.
        reduction: the mean per sentence, the mean per token, or `none`: (B,) by sentence.
        kernel: which to use.

    Raises:
        ValueError: no path of a finite score, or none that gold allows.
    """
    chain = Chain.of(emissions, transitions, start, end, lengths)
    engine = choosing.kernel(chain, kernel)
    if reduction not in options(Reduction):
        raise ValueError(f"reduction must be {listed(options(Reduction))}, got {reduction!r}")
    if weights is not None:
        _expect_shape("weights", weights, start.shape)
    ids = None
    if gold.dtype != torch.bool:
        if gold.is_floating_point():
            raise ValueError(f"gold must be ids or booleans, got {gold.dtype}")
        _expect_shape("gold", gold, chain.emissions.shape[:2])
        values = engine.negative_log_likelihood(chain, gold.long(), weights)
        loss = reduced(values, chain.lengths, reduction, chain.emissions.dtype)
        if _all_finite(loss):
            return loss
        if not (chain.inside & (gold == UNKNOWN)).any():
            refuse_faults(chain, gold)
            return loss
        ids, every = gold, torch.arange(len(start), device=gold.device)
        gold = (gold[:, :, None] == every) | (gold[:, :, None] == UNKNOWN)
    else:
        _expect_shape("gold", gold, chain.emissions.shape)
    if weights is not None:
        refuse_faults(chain, ids)
        raise ValueError("tags have weights only where gold leaves no choice")
    agreeing = chain._replace(emissions=chain.emissions.masked_fill(~gold, -torch.inf))
    values = engine.negative_log_likelihood(chain) - engine.negative_log_likelihood(agreeing)
    if not _all_finite(values):
        refuse_faults(chain, ids)
        refuse_faults(agreeing)
    return reduced(values, chain.lengths, reduction, chain.emissions.dtype)


def best_path(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the path (B, T) of the highest score, 0 in padding, and that score (B,) (Viterbi, 1967).

    Of equal scores the lowest tag id is taken, from the last token back. There is no gradient.
    """
    chain = _detached(emissions, transitions, start, end, lengths)
    path, score = choosing.kernel(chain, kernel).best_path(chain)
    return path, _finite(score, chain).to(chain.emissions)


def best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, count: int
) -> tuple[Tensor, Tensor]:
    """Returns the N best paths (B, N, T), best first, 0 in padding, and their scores (B, N).

    They are ranked in the precision of the scores; those that differ by less may come in any order. A sentence with
    fewer paths has scores of −inf after them. There is no gradient.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    chain = _detached(emissions, transitions, start, end, lengths)
    _, tokens, tags = chain.emissions.shape
    # By tag and rank (B, K, N): the best scores of all paths to here that end in a tag.
    scores = torch.full((len(lengths), tags, count), -torch.inf, dtype=chain.emissions.dtype, device=start.device)
    scores[:, :, 0] = chain.start + chain.emissions[:, 0]
    stay = torch.arange(tags * count, device=start.device).expand(len(lengths), -1)
    pointers = []
    for token in range(1, tokens):
        before = shifted(scores.flatten(1))[0].view_as(scores)
        extended = (before[..., None] + chain.transitions[:, None]).flatten(1, 2)  # (B, K * N, K)
        extended, pointer = (
            part[:, :count].transpose(1, 2) for part in extended.sort(dim=1, descending=True, stable=True)
        )
        here = chain.inside[:, token, None]
        scores = torch.where(here[..., None], extended + chain.emissions[:, token, :, None], scores)
        pointers.append(torch.where(here, pointer.flatten(1), stay))
    final, place = (scores + chain.end[:, None]).flatten(1).sort(dim=1, descending=True, stable=True)
    final, place = final[:, :count], place[:, :count]  # (B, N), places in K * N
    path = [place]
    for pointer in reversed(pointers):
        path.append(pointer.gather(1, path[-1]))
    paths = torch.stack(path[::-1], 2) // count
    paths = paths.masked_fill(~chain.inside[:, None] | (final == -torch.inf)[..., None], 0)
    found = torch_kernel.path_scores(chain, paths)
    _finite(torch.where(final == -torch.inf, -torch.inf, found)[:, 0], chain)
    return paths, torch.where(final == -torch.inf, final, found.to(final))


def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns (B, T, K) the probability of each tag at each token, 0 in padding; portable has its gradient."""
    chain = Chain.of(emissions, transitions, start, end, lengths)
    return _messages(chain, kernel).marginals


def pairwise_marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns (B, T − 1, K, K) the probability of each two tags at a token and the next, 0 past the end."""
    chain = Chain.of(emissions, transitions, start, end, lengths)
    messages = _messages(chain, kernel)
    after = following(chain, messages)[:, 1:, None]
    pairs = messages.marginals[:, :-1, :, None] * next_tag(chain, after).exp()
    return pairs.masked_fill(~chain.inside[:, 1:, None, None], 0.0)


def entropy(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, kernel: Kernel | None = None
) -> Tensor:
    """Returns (B,) the entropy over paths in nats (Mann and McCallum, 2007); portable has its gradient."""
    chain = Chain.of(emissions, transitions, start, end, lengths)
    messages = _messages(chain, kernel)
    after = following(chain, messages)
    first = torch.log_softmax(chain.start.clamp_min(torch_kernel.FLOOR) + after[:, 0], 1)
    total = -(first.exp() * first).sum(1)
    for token in range(1, after.shape[1]):
        follows = next_tag(chain, after[:, token, None])
        here = -(messages.marginals[:, token - 1] * (follows.exp() * follows).sum(2)).sum(1)
        total = total + torch.where(chain.inside[:, token], here, 0.0)
    return total


def span_probabilities(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    spans: Tensor,
    members: Tensor,
    joins: Tensor,
    *,
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns (N,) the probability that a sentence holds exactly this entity: the sum over all paths that do.

    Args:
        emissions: (B, T, K).
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,).
        spans: (N, 4) sentence, first token, the token after the last, and type.
        members: (types, K) booleans, the tags that a token of an entity of this type can have.
        joins: (K, K) booleans, which two tags in a row belong to one entity.
        kernel: which to use.

    Raises:
        ValueError: a span is empty, leaves its sentence or has no type.
    """
    chain = Chain.of(emissions, transitions, start, end, lengths)
    engine = _engine(chain, kernel)
    messages = _messages_by(engine, chain)
    if spans.dim() != 2 or spans.shape[1] != 4 or members.shape[1:] != start.shape or joins.shape != transitions.shape:
        given = ", ".join(str(tuple(tensor.shape)) for tensor in (spans, members, joins))
        raise ValueError(f"spans, members and joins must be (N, 4), (types, {len(start)}) and (K, K), got {given}")
    sentence, first, stop, kind = spans.unbind(1)
    wrong = (kind < 0) | (kind >= len(members))
    wrong |= (sentence < 0) | (sentence >= len(lengths)) | (first < 0) | (stop <= first)
    wrong |= stop > chain.lengths[sentence.clamp(0, len(lengths) - 1)]
    if wrong.any():
        number = int(wrong.nonzero()[0])
        raise ValueError(f"span {number} is empty, leaves its sentence or has no type: {spans[number].tolist()}")
    if not len(spans):
        return chain.emissions.new_zeros(0)
    return engine.span_probabilities(chain, messages, spans, members, joins)


def sample(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    *,
    count: int = 1,
    generator: torch.Generator | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """Returns (B, N, T) paths drawn by their probability, independent of one another, 0 in padding."""
    chain = _detached(emissions, transitions, start, end, lengths)
    messages = _messages(chain, kernel)
    after = following(chain, messages)
    tag = torch.multinomial(messages.marginals[:, 0], count, replacement=True, generator=generator)
    path = [tag]
    for token in range(1, after.shape[1]):
        shares = next_tag(chain, after[:, token, None]).exp()  # (B, K, K)
        shares = shares.gather(1, tag[:, :, None].expand(-1, -1, shares.shape[2])).flatten(0, 1)  # (B * N, K)
        tag = torch.multinomial(shares, 1, generator=generator).view_as(tag)
        path.append(tag)
    return torch.stack(path, 2).masked_fill(~chain.inside[:, None], 0)


def reduced(values: Tensor, lengths: Tensor, reduction: Reduction, dtype: torch.dtype) -> Tensor:
    """Returns the mean per sentence or per token of values (B,) of sentences, or these themselves."""
    if reduction == "sentence":
        return values.mean(dtype=dtype)
    return values.sum(dtype=dtype) / lengths.sum() if reduction == "token" else values.to(dtype)


def _messages(chain: Chain, kernel: Kernel | None) -> Messages:
    return _messages_by(_engine(chain, kernel), chain)


def _engine(chain: Chain, kernel: Kernel | None) -> choosing.Engine:
    """Returns the kernel for what only the portable one can differentiate."""
    return choosing.kernel(chain, "torch" if kernel is None and chain.needs_gradient else kernel)


def _messages_by(engine: choosing.Engine, chain: Chain) -> Messages:
    messages = engine.messages(chain)
    _finite(messages.log_partition, chain)
    return messages


def _expect_shape(name: str, tensor: Tensor, shape: torch.Size) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name} must be {tuple(shape)}, got {tuple(tensor.shape)}")


def _detached(*scores: Tensor) -> Chain:
    return Chain.of(*(tensor.detach() for tensor in scores))


def _finite(values: Tensor, chain: Chain) -> Tensor:
    if not _all_finite(values):
        refuse_faults(chain)
    return values


def _all_finite(values: Tensor) -> bool:
    """Reads one number from the device: sums of losses stay far below what is infinite."""
    return math.isfinite(values.detach().sum().item() if values.dim() else values.item())
