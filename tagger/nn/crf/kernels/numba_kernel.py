"""The numba kernel: exact inference on the CPU by compiled loops; threads share the sentences of a large batch.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from tagger.nn.crf.chain_scores import ChainScores
from tagger.nn.crf.kernels import numba_spans, numba_sums, numba_viterbi, torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, missing_gradient_error
from tagger.nn.kernels.threads import pool

Result = TypeVar("Result")
Rows = tuple[int, int]
MIN_PARALLEL_COST = 5_000_000
"""Estimated nanoseconds of work below which threads cost more than they save, next to torch's spinning threads."""


class _Arrays(NamedTuple):
    """Arguments of the compiled loops."""

    batch: tuple[Any, ...]
    gold: Any
    weights: Any


def negative_log_likelihood(scores: ChainScores, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns the result of the torch kernel; differentiable once, with gradient 0 where the value is not finite."""
    values: Tensor = _NegativeLogLikelihood.apply(*scores, gold, weights)  # type: ignore[no-untyped-call]
    return values


def messages(scores: ChainScores) -> Messages:
    """Returns the result of the torch kernel, without gradient."""
    tensors: tuple[Tensor, ...] = _Messages.apply(*scores)  # type: ignore[no-untyped-call]
    log_partition, marginals, exp_beta, lost = tensors
    if not len(lost):
        return Messages(log_partition, marginals, exp_beta=exp_beta)
    by_torch = torch_kernel.messages(_select(lost, scores)[0])
    beta = Messages(log_partition, marginals, exp_beta=exp_beta).beta.index_copy(0, lost, by_torch.beta)
    log_partition = log_partition.index_copy(0, lost, by_torch.log_partition)
    return Messages(log_partition, marginals.index_copy(0, lost, by_torch.marginals), log_beta=beta)


def best_path(scores: ChainScores) -> tuple[Tensor, Tensor]:
    """Returns exactly the path of the torch kernel, and its score."""
    sentences, tokens, _ = scores.emissions.shape
    batch = _batch(scores)
    values, paths = np.empty(sentences), np.empty((sentences, tokens), np.int64)
    _run(scores, 1, lambda rows: numba_viterbi.best_path(batch, rows, values, paths))
    return torch.from_numpy(paths), torch.from_numpy(values)


def span_probabilities(
    scores: ChainScores, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor
) -> Tensor:
    """Returns the result of the torch kernel, without gradient."""
    weights = messages.exp_beta
    if weights is None:
        weights = (messages.beta - messages.beta.amax(2, keepdim=True)).double().exp()
    tensors = *scores, weights, messages.marginals, spans, members, joins
    values: Tensor = _SpanProbabilities.apply(*tensors)  # type: ignore[no-untyped-call]
    is_lost = values.isnan()
    if is_lost.any():
        lost = torch_kernel.span_probabilities(scores, messages, spans[is_lost], members, joins)
        values = values.masked_scatter(is_lost, lost)
    return values


class _NegativeLogLikelihood(torch.autograd.Function):
    """Computes the gradient in the forward pass, for an upstream gradient of 1 per value: usually all are equal."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        scores, gold, weights = ChainScores(*tensors[:5]), tensors[5], tensors[6]
        arrays = _arrays(scores, gold, weights)
        if any(ctx.needs_input_grad):
            values, ctx.lost, *ctx.gradients = _gradients(scores, arrays, np.ones(len(scores.lengths)))
            ctx.save_for_backward(*tensors)
        else:
            values, outcomes = _empty_results(scores)
            counts = _run(scores, 1, lambda rows: numba_sums.losses(*arrays, rows, values, outcomes))
            ctx.lost = _lost_rows(counts, outcomes)
        losses = torch.from_numpy(values)
        if ctx.lost is not None:
            losses[ctx.lost] = torch_kernel.negative_log_likelihood(*_select(ctx.lost, scores, gold, weights))
        return losses

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: the result would count as constant
            raise missing_gradient_error("numba", "its gradient")
        *tensors, gold, weights = ctx.saved_tensors
        scores = ChainScores(*tensors)
        if grad_output.stride(0) == 0 or (grad_output == grad_output[0]).all():
            emissions, parameters = (gradient * grad_output[0].item() for gradient in ctx.gradients)
        else:
            arrays = _arrays(scores, gold, weights)
            *_, emissions, parameters = _gradients(scores, arrays, grad_output.numpy())
        gradients = [emissions, parameters[:-2], parameters[-2], parameters[-1]]
        if ctx.lost is not None:
            with torch.enable_grad():
                scores = scores.map(lambda tensor: tensor.detach().requires_grad_())
                values = torch_kernel.negative_log_likelihood(*_select(ctx.lost, scores, gold, weights))
                lost = torch.autograd.grad(values, scores[:4], grad_output[ctx.lost])
            gradients = [total + addend for total, addend in zip(gradients, lost, strict=True)]
        return *gradients, None, None, None


class _Messages(torch.autograd.Function):
    """Makes backward raise an error instead of ignoring the messages."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        scores = ChainScores(*tensors)
        batch, results, shape = _batch(scores), _empty_results(scores), scores.emissions.shape
        marginals = np.zeros(shape, batch[0].dtype)
        exp_beta = np.zeros((*shape[:2], numba_sums.padded_size(shape[2])))
        _run(scores, 2, lambda rows: numba_sums.messages(batch, rows, results, exp_beta, marginals))
        lost = (results[1] == numba_sums.LOST).nonzero()[0]
        return tuple(map(torch.from_numpy, (results[0], marginals, exp_beta, lost)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise missing_gradient_error("numba", "marginals")


class _SpanProbabilities(torch.autograd.Function):
    """Fills NaN where a weight underflowed."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        values = np.empty(len(tensors[7]))
        numba_spans.span_probabilities(tuple(arrays[:5]), tuple(arrays[5:7]), *arrays[7:], values)
        return torch.from_numpy(values).to(tensors[0].dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise missing_gradient_error("numba", "probabilities of spans")


def _gradients(scores: ChainScores, arrays: _Arrays, grad_output: Any) -> tuple[Any, Tensor | None, Tensor, Tensor]:
    """Returns losses (B,), the rows of lost sentences, and gradients (B, T, K) and, of the parameters, (K + 2, K)."""
    tags = len(scores.start)
    results = _empty_results(scores)
    emissions = np.empty(scores.emissions.shape, arrays.batch[0].dtype)

    def run(rows: Rows) -> tuple[int, Any]:
        sums = np.zeros((tags + 2, tags))
        gradients = grad_output, emissions, sums
        return numba_sums.losses_and_gradients(*arrays, rows, results, gradients), sums

    counts, sums = zip(*_run(scores, 2, run), strict=True)
    parameters = sum(sums[1:], sums[0]).astype(emissions.dtype)
    return results[0], _lost_rows(counts, results[1]), torch.from_numpy(emissions), torch.from_numpy(parameters)


def _lost_rows(counts: Iterable[int], outcomes: Any) -> Tensor | None:
    """Returns (n,) the sentences that need the torch kernel, None if none does."""
    return torch.from_numpy((outcomes == numba_sums.LOST).nonzero()[0]) if any(counts) else None


def _empty_results(scores: ChainScores) -> tuple[Any, Any]:
    """Returns uninitialised values (B,) and outcomes (B,)."""
    return np.empty(len(scores.lengths)), np.empty(len(scores.lengths), np.uint8)


def _arrays(scores: ChainScores, gold: Tensor | None, weights: Tensor | None) -> _Arrays:
    """Returns the scores, gold ids (B, T), (B, 0) without gold, and tag weights (K,), 1 by default."""
    ids = np.empty((len(scores.lengths), 0), np.int64) if gold is None else gold.contiguous().numpy()
    ones = np.ones(len(scores.start))
    return _Arrays(_batch(scores), ids, ones if weights is None else weights.detach().double().contiguous().numpy())


def _batch(scores: ChainScores) -> tuple[Any, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in scores)


def _select(
    rows: Tensor, scores: ChainScores, gold: Tensor | None = None, weights: Tensor | None = None
) -> tuple[ChainScores, Tensor | None, Tensor | None]:
    """Returns sentences of a batch, and their gold tags if given."""
    scores = scores._replace(emissions=scores.emissions[rows], lengths=scores.lengths[rows])
    return scores, None if gold is None else gold[rows], weights


def _run(scores: ChainScores, passes: int, function: Callable[[Rows], Result]) -> list[Result]:
    """Returns the results of a function of row ranges that cover the batch: one range, or one per torch thread.

    It does not use numba's threads: these abort the process if two threads use them or after a fork, and spin while
    they wait, against torch's threads.
    """
    sentences, tokens, tags = scores.emissions.shape
    threads = min(torch.get_num_threads(), sentences)
    cost = passes * sentences * tokens * (100 + tags * tags // 4)
    if threads == 1 or cost < MIN_PARALLEL_COST:
        return [function((0, sentences))]
    ends = np.cumsum(scores.lengths.numpy())
    splits = (np.searchsorted(ends, np.linspace(0, ends[-1], threads + 1)[1:-1]) + 1).clip(max=sentences).tolist()
    first, *rest = pairwise([0, *splits, sentences])
    futures = [pool().submit(function, rows) for rows in rest]
    return [function(first), *(future.result() for future in futures)]
