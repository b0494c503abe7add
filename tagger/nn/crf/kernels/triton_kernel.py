# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The Triton kernel: exact inference on a GPU, one program per sentence, without synchronisation with the host.

Shapes in this module: B sentences, T tokens in the longest one, K tags, TILE ≥ K a power of two.

Sums run in the log domain in float32, minus a shift per token; sums along a sentence are float64. As in the torch
kernel, everything follows from one backward pass. The lanes from K to TILE hold −inf. Transitions are padded to (TILE,
TILE) and oriented so that every sum and maximum runs down the columns, mostly within a thread.

A program has several threads. A barrier separates writes from reads by other threads.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from tagger.nn.crf.chain_scores import ChainScores
from tagger.nn.crf.kernels import torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, missing_gradient_error

BLOCK = tl.constexpr(128)  # tokens of a path that are read together
UNSPECIALISED = ["tokens", "tags"]  # one kernel for all batches: Triton specialises on divisibility by 16


def negative_log_likelihood(scores: ChainScores, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns the result of the torch kernel; differentiable once, with gradient 0 where there is no path."""
    weights = None if gold is None or weights is None else weights.double().contiguous()
    gold = None if gold is None else gold.contiguous()
    values: Tensor = _NegativeLogLikelihood.apply(*_contiguous(scores), gold, weights)  # type: ignore[no-untyped-call]
    return values


def messages(scores: ChainScores) -> Messages:
    """Returns the result of the torch kernel, without gradient; marginals are 0 where there is no path."""
    tensors: tuple[Tensor, Tensor, Tensor] = _Messages.apply(*_contiguous(scores))  # type: ignore[no-untyped-call]
    log_partition, beta, marginals = tensors
    return Messages(log_partition, marginals, log_beta=beta)


def best_path(scores: ChainScores) -> tuple[Tensor, Tensor]:
    """Returns exactly the path of the torch kernel, and its score; NaN if a score is NaN."""
    scores = _contiguous(scores)
    pointers = torch.empty_like(scores.emissions, dtype=torch.uint8)
    paths = scores.lengths.new_zeros(scores.emissions.shape[:2])
    values = torch.empty_like(scores.lengths, dtype=torch.float64)
    _launch(_best_path_kernel, scores, *scores, _pad(scores.transitions), pointers, paths, values)
    return paths, values


def span_probabilities(
    scores: ChainScores, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor
) -> Tensor:
    """Returns the result of the torch kernel, by the torch kernel."""
    return torch_kernel.span_probabilities(scores, messages, spans, members, joins)


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Tensor:
        beta, values = _backward_pass(ChainScores(*tensors[:5]), *tensors[5:])
        ctx.save_for_backward(*tensors, beta, values)
        return values

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: the result would count as constant
            raise missing_gradient_error("triton", "its gradient")
        *tensors, gold, weights, beta, values = ctx.saved_tensors
        scores = ChainScores(*tensors)
        sentences, tokens, tags = scores.emissions.shape
        emission_gradient = torch.zeros_like(scores.emissions)
        # One slice per sentence, summed afterwards: atomic additions would make the result depend on their order.
        pair_gradient = (
            emission_gradient.new_zeros(sentences, _tile(tags), _tile(tags)) if ctx.needs_input_grad[1] else None
        )
        _fill_gradients(scores, gold, weights, beta, values, grad_output.contiguous(), emission_gradient, pair_gradient)
        last = (scores.lengths - 1).clamp(0, tokens - 1)[:, None, None].expand(-1, 1, tags)
        transition_gradient = None if pair_gradient is None else pair_gradient.sum(0)[:tags, :tags]
        start_gradient, end_gradient = emission_gradient[:, 0].sum(0), emission_gradient.gather(1, last)[:, 0].sum(0)
        return emission_gradient, transition_gradient, start_gradient, end_gradient, None, None, None


class _Messages(torch.autograd.Function):
    """Makes backward raise an error instead of ignoring the messages."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        scores = ChainScores(*tensors)
        beta, values = _backward_pass(scores)
        marginals = torch.zeros_like(scores.emissions)
        _fill_gradients(scores, None, None, beta, values, None, marginals, None)
        undefined = values.isnan()[:, None, None] & scores.mask[:, :, None]
        return values, beta, marginals.masked_fill(undefined, torch.nan)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise missing_gradient_error("triton", "marginals")


def _contiguous(scores: ChainScores) -> ChainScores:
    return ChainScores(*(tensor.contiguous() for tensor in scores))


def _backward_pass(
    scores: ChainScores, gold: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns beta (B, T, K), 0 in padding, and log-partitions or losses (B,)."""
    beta = torch.zeros_like(scores.emissions)
    values = torch.empty_like(scores.lengths, dtype=torch.float64)
    totals = None if weights is None else beta.new_empty(beta.shape[:2], dtype=torch.float64)
    _launch(_beta_kernel, scores, *scores, _pad(scores.transitions.t()), gold, weights, beta, totals, values)
    return beta, values


def _fill_gradients(scores: ChainScores, *arguments: Tensor | None) -> None:
    """Fills gradients (B, T, K) and (B, TILE, TILE), the last arguments; marginals if gold and grad_output are None.

    Args:
        scores: the scores.
        arguments: of the gradient kernel from gold on; None for an absent one.
    """
    emissions, transitions, start, _, lengths = scores
    _launch(_gradient_kernel, scores, emissions, _pad(transitions), start, lengths, *arguments)


def _tile(tags: int) -> int:
    return max(16, int(triton.next_power_of_2(tags)))


def _pad(transitions: Tensor) -> Tensor:
    """Returns transitions (TILE, TILE), padded with −inf."""
    padding = _tile(len(transitions)) - len(transitions)
    return functional.pad(transitions, (0, padding, 0, padding), value=-torch.inf).contiguous()


def _launch(kernel: Any, scores: ChainScores, *arguments: Tensor | None) -> None:
    sentences, tokens, tags = scores.emissions.shape
    tile = _tile(tags)
    with torch.cuda.device_of(scores.emissions):  # type: ignore[no-untyped-call]
        kernel[(sentences,)](*arguments, tokens, tags, tile=tile, num_warps={64: 4, 128: 8}.get(tile, 1))


@triton.jit(do_not_specialize=UNSPECIALISED)
def _beta_kernel(
    emissions, transitions, start, end, lengths, padded_transitions, gold, weights,
    beta, totals, values, tokens, tags, tile: tl.constexpr,
):  # fmt: skip
    """Fills beta, values, and with weights the total shifts (B, T) of beta."""
    sentence = tl.program_id(0).to(tl.int64)
    length = _valid_length(lengths, sentence, tokens)
    if length == 0:
        tl.store(values + sentence, float("nan"))
        return
    emissions += sentence * tokens * tags
    beta += sentence * tokens * tags
    if weights is not None:
        totals += sentence * tokens
    lanes = tl.arange(0, tile)
    transition_rows = _load_matrix(padded_transitions, lanes, tile)
    beta_row = _load_row(end, 0, lanes, tags)
    total = tl.full((), 0.0, tl.float64)
    next_row = _load_row(emissions, length - 1, lanes, tags)  # loaded one token ahead to hide latency
    for token in range(length - 1, 0, -1):
        scores, highest = _subtract_max(next_row)
        next_row = _load_row(emissions, token - 1, lanes, tags)
        _store_row(beta, token, beta_row, lanes, tags)
        if weights is not None:
            tl.store(totals + token, total)
        continuation, shift = _subtract_max(scores + beta_row)
        beta_row = _log_sum(transition_rows + continuation[:, None])
        total += highest.to(tl.float64) + shift
    _store_row(beta, 0, beta_row, lanes, tags)
    scores, highest = _subtract_max(next_row)
    value = _log_sum(_load_row(start, 0, lanes, tags) + scores + beta_row) + (total + highest)
    if gold is not None:
        if weights is not None:
            tl.store(totals, total)
        tl.debug_barrier()
        gold += sentence * tokens
        value = _gold_loss(emissions, transitions, start, end, gold, weights, beta, totals, value, length, tags)
    tl.store(values + sentence, value)


@triton.jit(do_not_specialize=UNSPECIALISED)
def _gradient_kernel(
    emissions, padded_transitions, start, lengths, gold, weights, beta, values, grad_output,
    emission_gradient, pair_gradient, tokens, tags, tile: tl.constexpr,
):  # fmt: skip
    """Fills gradients in a forward pass over probabilities; skips sentences whose value is not finite."""
    sentence = tl.program_id(0).to(tl.int64)
    finite = tl.abs(tl.load(values + sentence)) < float("inf")
    if not finite:
        return
    length = tl.load(lengths + sentence).to(tl.int32)
    emissions += sentence * tokens * tags
    beta += sentence * tokens * tags
    emission_gradient += sentence * tokens * tags
    lanes = tl.arange(0, tile)
    transition_rows = _load_matrix(padded_transitions, lanes, tile)
    grad, weight = 1.0, 1.0
    if grad_output is not None:
        grad = tl.load(grad_output + sentence).to(tl.float32)
    if gold is not None:
        gold += sentence * tokens
        tag = tl.load(gold).to(tl.int32)
        if weights is not None:
            weight = tl.load(weights + tag).to(tl.float32)
    if pair_gradient is not None:
        counts = tl.zeros((tile, tile), tl.float32)
    previous_beta = _load_row(beta, 0, lanes, tags)
    alpha = tl.exp(
        _continuation(_load_row(emissions, 0, lanes, tags), previous_beta + _load_row(start, 0, lanes, tags))
    )
    alpha *= weight / tl.sum(alpha, 0)
    next_row = _load_row(emissions, tl.minimum(1, length - 1), lanes, tags)
    next_beta = _load_row(beta, tl.minimum(1, length - 1), lanes, tags)
    for token in range(1, length):
        row, beta_row = next_row, next_beta
        next_row = _load_row(emissions, tl.minimum(token + 1, length - 1), lanes, tags)
        next_beta = _load_row(beta, tl.minimum(token + 1, length - 1), lanes, tags)
        gradient = alpha
        if gold is not None:
            gradient -= tl.where(lanes == tag, weight, 0.0)
            next_tag = tl.load(gold + token).to(tl.int32)
            if weights is not None:
                next_weight = tl.load(weights + next_tag).to(tl.float32)
                alpha += tl.where(lanes == tag, next_weight - weight, 0.0)
                weight = next_weight
        _store_row(emission_gradient, token - 1, grad * gradient, lanes, tags)
        # In the order of the beta kernel, so that both round alike; only the rounding of beta remains.
        continuation = _continuation(row, beta_row)
        flow = alpha[:, None] * tl.exp(
            transition_rows + continuation[None, :] - _finite_or_zero(previous_beta)[:, None]
        )
        alpha = tl.sum(flow, 0)
        if weights is None:
            alpha /= tl.sum(alpha, 0)  # with weights the sum may be 0
        if pair_gradient is not None:
            counts += flow
            if gold is not None:
                counts -= tl.where((lanes[:, None] == tag) & (lanes[None, :] == next_tag), weight, 0.0)
        if gold is not None:
            tag = next_tag
        previous_beta = beta_row
    if gold is not None:
        alpha -= tl.where(lanes == tag, weight, 0.0)
    _store_row(emission_gradient, length - 1, grad * alpha, lanes, tags)
    if pair_gradient is not None:
        tl.store(pair_gradient + sentence * tile * tile + lanes[:, None] * tile + lanes[None, :], grad * counts)


@triton.jit(do_not_specialize=UNSPECIALISED)
def _best_path_kernel(
    emissions,
    transitions,
    start,
    end,
    lengths,
    padded_transitions,
    pointers,
    paths,
    values,
    tokens,
    tags,
    tile: tl.constexpr,
):
    """Fills paths and values; adds scores in the order of the torch kernel, so that ties are equal."""
    sentence = tl.program_id(0).to(tl.int64)
    length = _valid_length(lengths, sentence, tokens)
    if length == 0:
        tl.store(values + sentence, float("nan"))
        return
    emissions += sentence * tokens * tags
    pointers += sentence * tokens * tags
    paths += sentence * tokens
    lanes = tl.arange(0, tile)
    transition_rows = _load_matrix(padded_transitions, lanes, tile)
    scores = _load_row(start, 0, lanes, tags) + _load_row(emissions, 0, lanes, tags)
    has_nan = scores != scores
    next_row = _load_row(emissions, tl.minimum(1, length - 1), lanes, tags)
    for token in range(1, length):
        row = next_row
        next_row = _load_row(emissions, tl.minimum(token + 1, length - 1), lanes, tags)
        shift = _finite_or_zero(tl.max(scores, 0))
        extended = (scores - shift)[:, None] + transition_rows
        best, pointer = tl.max(extended, 0, return_indices=True, return_indices_tie_break_left=True)
        pointer = tl.minimum(pointer, tags - 1)  # NaN may give an index ≥ tags
        _store_row(pointers, token, pointer.to(tl.uint8), lanes, tags)
        scores = best + row
        has_nan |= scores != scores
    scores += _load_row(end, 0, lanes, tags)
    has_nan |= scores != scores
    tag = tl.minimum(tl.argmax(scores, 0, tie_break_left=True), tags - 1)
    tl.debug_barrier()
    for token in range(length - 1, 0, -1):
        tl.store(paths + token, tag.to(tl.int64))
        tag = tl.load(pointers + token * tags + tag).to(tl.int32)
    tl.store(paths, tag.to(tl.int64))
    tl.debug_barrier()
    score = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, length, BLOCK):
        positions = first + tl.arange(0, BLOCK)
        tag, previous, _known = _tags_on_path(paths, positions, length, tags)
        score += _token_score(emissions, transitions, start, end, tag, previous, positions, length, tags)
    is_nan = tl.max(has_nan.to(tl.int32), 0) > 0
    tl.store(values + sentence, tl.where(is_nan, float("nan"), tl.sum(score, 0)))


@triton.jit
def _valid_length(lengths, sentence, tokens):
    """Returns the length of a sentence, 0 if it is not in [1, T]."""
    length = tl.load(lengths + sentence)
    return tl.where((length < 1) | (length > tokens), 0, length).to(tl.int32)


@triton.jit
def _gold_loss(emissions, transitions, start, end, gold, weights, beta, totals, partition, length, tags):
    """Returns the partition minus the score of the gold path; NaN if a gold tag is not in [0, K).

    With weights: the weighted sum of −log p(tag | previous tag) = beta[token − 1] − beta[token] − score, where the
    partition is beta[−1].
    """
    loss = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, length, BLOCK):
        token = first + tl.arange(0, BLOCK)
        tag, previous, known = _tags_on_path(gold, token, length, tags)
        loss_terms = -_token_score(emissions, transitions, start, end, tag, previous, token, length, tags)
        if weights is not None:
            has_next, has_previous = token < length - 1, (token > 0) & (token < length)
            loss_terms += tl.load(beta + (token - 1) * tags + previous, mask=has_previous, other=0.0)
            loss_terms += tl.load(totals + token - 1, mask=has_previous, other=0.0) + tl.where(
                token == 0, partition, 0.0
            )
            loss_terms -= tl.load(beta + token * tags + tag, mask=has_next, other=0.0)
            loss_terms -= tl.load(totals + token, mask=has_next, other=0.0)
            loss_terms *= tl.load(weights + tag, mask=token < length, other=0.0)
        loss += tl.where(known, loss_terms, float("nan"))
    value = tl.sum(loss, 0)
    if weights is None:
        value += partition
    return value


@triton.jit
def _tags_on_path(path, token, length, tags):
    """Returns the tags of tokens and of their predecessors, clamped to [0, K), and whether the tags are in [0, K)."""
    tag = tl.load(path + token, mask=token < length, other=0)
    previous = tl.load(path + token - 1, mask=(token > 0) & (token < length), other=0)
    known = (tag >= 0) & (tag < tags)
    previous = tl.minimum(tl.maximum(previous, 0), tags - 1)
    return tl.where(known, tag, 0).to(tl.int32), previous.to(tl.int32), known


@triton.jit
def _token_score(emissions, transitions, start, end, tag, previous, token, length, tags):
    """Returns in float64 what tokens add to the score of a path, 0 past its end."""
    inside = token < length
    value = tl.load(emissions + token * tags + tag, mask=inside, other=0.0).to(tl.float64)
    value += tl.load(transitions + previous * tags + tag, mask=inside & (token > 0), other=0.0)
    value += tl.load(start + tag, mask=token == 0, other=0.0)
    value += tl.load(end + tag, mask=token == length - 1, other=0.0)
    return value


@triton.jit
def _subtract_max(scores):
    """Returns scores minus their maximum, and the maximum, or 0 where all are −inf."""
    shift = _finite_or_zero(tl.max(scores, 0))
    return scores - shift, shift


@triton.jit
def _continuation(row, beta):
    """Returns emission plus beta of a token's tags, minus their maximum."""
    return _subtract_max(_subtract_max(row)[0] + beta)[0]


@triton.jit
def _log_sum(scores):
    """Returns the log of the sum of exp(scores) down the columns, −inf where all are −inf."""
    highest = _finite_or_zero(tl.max(scores, 0))
    return tl.log(tl.sum(tl.exp(scores - tl.expand_dims(highest, 0)), 0)) + highest


@triton.jit
def _finite_or_zero(scores):
    return tl.where(scores == float("-inf"), 0.0, scores)  # −inf − (−inf) is NaN


@triton.jit
def _load_matrix(rows, lanes, tile: tl.constexpr):
    return tl.load(rows + lanes[:, None] * tile + lanes[None, :])


@triton.jit
def _load_row(rows, number, lanes, tags):
    return tl.load(rows + number * tags + lanes, mask=lanes < tags, other=float("-inf"))


@triton.jit
def _store_row(rows, number, row, lanes, tags):
    tl.store(rows + number * tags + lanes, row, mask=lanes < tags)
