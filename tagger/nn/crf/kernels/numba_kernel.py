"""Exact inference on the CPU by compiled loops, the sentences of a large batch shared among torch's number of threads.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tagger.nn.crf.chain import Chain
from tagger.nn.crf.kernels import loops, torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, no_gradient
from tagger.nn.kernels.threads import pool

Part = TypeVar("Part")
WORTH_A_THREAD = 5_000_000  # of what takes a nanosecond; less is not, beside the threads of torch that still spin


def negative_log_likelihood(chain: Chain, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns what the portable kernel does; its gradient has none itself, and is 0 where the value is not finite."""
    values: Tensor = _NegativeLogLikelihood.apply(*chain, gold, weights)  # type: ignore[no-untyped-call]
    return values


def messages(chain: Chain) -> Messages:
    """Returns what the portable kernel does; it has no gradient."""
    found: tuple[Tensor, Tensor, Tensor] = _Messages.apply(*chain)  # type: ignore[no-untyped-call]
    return Messages(*found)


def best_path(chain: Chain) -> tuple[Tensor, Tensor]:
    """Returns the very path that the portable kernel does, and its score."""
    sentences, tokens, _ = chain.emissions.shape
    values, paths = np.empty(sentences), np.empty((sentences, tokens), np.int64)
    _share(chain, 1, lambda begin, stop: loops.best_path(*_arrays(chain), begin, stop, values, paths))
    return torch.from_numpy(paths), torch.from_numpy(values)


def span_probabilities(chain: Chain, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor) -> Tensor:
    """Returns what the portable kernel does; it has no gradient."""
    given = (
        chain.transitions.clamp_min(torch_kernel.FLOOR),
        torch_kernel.following(chain, messages),
        messages.marginals,
    )
    found: Tensor = _SpanProbabilities.apply(*given, chain.lengths, spans, members, joins)  # type: ignore[no-untyped-call]
    return found


class _NegativeLogLikelihood(torch.autograd.Function):
    """Finds the gradient on the way forward, for a gradient of 1 of every value: mostly they are all alike."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        chain, gold, weights = Chain(*tensors[:5]), tensors[5], tensors[6]
        arrays = _arrays_with_gold(chain, gold, weights)
        if any(ctx.needs_input_grad):
            values, ctx.lost, *ctx.gradients = _gradients(chain, arrays, np.ones(len(chain.lengths)))
            ctx.save_for_backward(*tensors)
        else:
            values, outcomes = _empty(chain)
            lost = _share(chain, 1, lambda begin, stop: loops.likelihood(*arrays, begin, stop, values, outcomes))
            ctx.lost = _lost(lost, outcomes)
        found = torch.from_numpy(values)
        if ctx.lost is not None:
            found[ctx.lost] = torch_kernel.negative_log_likelihood(*_rows(ctx.lost, chain, gold, weights))
        return found

    @staticmethod
    def backward(ctx: Any, shares: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: what follows would count as constant
            raise no_gradient("numba", "its gradient")
        *tensors, gold, weights = ctx.saved_tensors
        chain = Chain(*tensors)
        if shares.stride(0) == 0 or (shares == shares[0]).all():
            by_emission, by_parameter = (gradient * shares[0].item() for gradient in ctx.gradients)
        else:
            arrays = _arrays_with_gold(chain, gold, weights)
            *_, by_emission, by_parameter = _gradients(chain, arrays, shares.numpy())
        found = [by_emission, by_parameter[:-2], by_parameter[-2], by_parameter[-1]]
        if ctx.lost is not None:
            with torch.enable_grad():
                chain = chain.changed(lambda scores: scores.detach().requires_grad_())
                values = torch_kernel.negative_log_likelihood(*_rows(ctx.lost, chain, gold, weights))
                further = torch.autograd.grad(values, chain[:4], shares[ctx.lost])
            found = [own + other for own, other in zip(found, further, strict=True)]
        return *found, None, None, None


class _Messages(torch.autograd.Function):
    """Only so that the way back ends in an error, not in silence."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        chain = Chain(*tensors)
        arrays = _arrays(chain)
        values, outcomes = _empty(chain)
        both = [np.empty(chain.emissions.shape, arrays[0].dtype) for _ in range(2)]
        parts = _share(chain, 2, lambda begin, stop: loops.messages(*arrays, begin, stop, values, outcomes, *both))
        found = Messages(*map(torch.from_numpy, (values, *both)))
        lost = _lost(parts, outcomes)
        if lost is not None:
            for own, other in zip(found, torch_kernel.messages(_rows(lost, chain)[0]), strict=True):
                own[lost] = other
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise no_gradient("numba", "marginals")


class _SpanProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        found = np.empty(len(tensors[4]))
        loops.span_probabilities(*(tensor.detach().contiguous().numpy() for tensor in tensors), found)
        return torch.from_numpy(found).to(tensors[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise no_gradient("numba", "probabilities of spans")


def _gradients(chain: Chain, arrays: list[Any], shares: Any) -> tuple[Any, Tensor | None, Tensor, Tensor]:
    """Returns the values (B,), the sentences lost, and the gradients (B, T, K) and, of the parameters, (K + 2, K)."""
    tags = len(chain.start)
    values, outcomes = _empty(chain)
    by_emission = np.empty(chain.emissions.shape, arrays[0].dtype)

    def work(begin: int, stop: int) -> tuple[int, Any]:
        sums = np.zeros((tags + 2, tags))
        return loops.gradient(*arrays, begin, stop, values, outcomes, shares, by_emission, sums), sums

    lost, sums = zip(*_share(chain, 2, work), strict=True)
    by_parameter = sum(sums[1:], sums[0]).astype(by_emission.dtype)
    return values, _lost(lost, outcomes), torch.from_numpy(by_emission), torch.from_numpy(by_parameter)


def _lost(counts: Iterable[int], outcomes: Any) -> Tensor | None:
    """Returns (n,) which sentences need the portable kernel, None if none does."""
    return torch.from_numpy((outcomes == loops.LOST).nonzero()[0]) if any(counts) else None


def _empty(chain: Chain) -> tuple[Any, Any]:
    """Returns room for the values of the sentences (B,) and for how it went with each."""
    return np.empty(len(chain.lengths)), np.empty(len(chain.lengths), np.uint8)


def _arrays_with_gold(chain: Chain, gold: Tensor | None, weights: Tensor | None) -> list[Any]:
    """Returns the arrays of a chain, the gold tags (B, T), with no row if there are none, and their weights (K,)."""
    ids = np.empty((0, 0), np.int64) if gold is None else gold.contiguous().numpy()
    ones = np.ones(len(chain.start))
    return [*_arrays(chain), ids, ones if weights is None else weights.detach().double().contiguous().numpy()]


def _arrays(chain: Chain) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in chain]


def _rows(
    rows: Tensor, chain: Chain, gold: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Chain, Tensor | None, Tensor | None]:
    """Returns some sentences of a batch, and their gold tags if there are any."""
    chain = chain._replace(emissions=chain.emissions[rows], lengths=chain.lengths[rows])
    return chain, None if gold is None else gold[rows], weights


def _share(chain: Chain, sweeps: int, work: Callable[[int, int], Part]) -> list[Part]:
    """Returns what work makes of the sentences, in order: of all at once, or of as many parts as torch has threads.

    Own threads, not numba's: those abort the process when two threads use them or after a fork, and wait for work by
    spinning, against torch's.
    """
    sentences, tokens, tags = chain.emissions.shape
    threads = min(torch.get_num_threads(), sentences)
    cost = sweeps * sentences * tokens * (100 + tags * tags // 4)
    if threads == 1 or cost < WORTH_A_THREAD:
        return [work(0, sentences)]
    done = np.cumsum(chain.lengths.numpy())
    stops = (np.searchsorted(done, np.linspace(0, done[-1], threads + 1)[1:-1]) + 1).clip(max=sentences).tolist()
    cuts = [0, *stops, sentences]
    others = [pool().submit(work, begin, stop) for begin, stop in pairwise(cuts[1:])]
    return [work(0, cuts[1]), *(other.result() for other in others)]
