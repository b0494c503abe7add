"""Compiled loops of the numba kernel: probabilities of spans.

Shapes in this module: B sentences, T tokens in the longest one, K tags, P ≥ K a multiple of 4, N spans.
"""

import numpy as np

from tagger.nn.crf.kernels.numba_sums import (
    TINY,
    Array,
    Parameters,
    compiled_loop,
    exp,
    make_parameters,
    multiply,
    padded_size,
)


@compiled_loop
def _weigh(emissions: Array, beta: Array, weights: Array) -> None:
    """Fills (P,) with the weights of a token's tags and all that follows them, up to a constant."""
    top = -np.inf
    for k in range(len(emissions)):
        weights[k] = np.float64(emissions[k]) + beta[k]
        if weights[k] > top:
            top = weights[k]
    for k in range(len(emissions)):
        weights[k] = 0.0 if weights[k] == -np.inf else exp(weights[k] - top)


@compiled_loop
def _divide_by_total(alpha: Array, weights: Array, parameters: Parameters, totals: Array) -> bool:
    """Divides alpha (P,) by the weight of all steps from each tag; returns False if such a weight underflowed."""
    multiply(weights, parameters.transposed, totals)
    for k in range(len(parameters.start)):
        if alpha[k] > 0.0:
            if totals[k] < TINY:
                return False
            alpha[k] /= totals[k]
    return True


@compiled_loop
def _span_probability(
    scores: tuple[Array, Array, Array],
    span: tuple[int, int, int],
    members: Array,
    steps: tuple[Array, Array, Array],
    parameters: Parameters,
    buffers: tuple[Array, Array, Array, Array],
) -> float:
    """Returns the probability of a span, NaN if a weight underflowed.

    Args:
        scores: emissions, beta and marginals (T, K) of the sentence.
        span: first token, end token (exclusive), sentence length.
        members: (K,) booleans, the tags of the span's type.
        steps: (P, P) weights of transitions between spans; within a span; between spans, transposed.
        parameters: the chain's.
        buffers: four arrays (P,).
    """
    emissions, beta, marginals = scores
    start, end, length = span
    between, within, between_transposed = steps
    alpha, weights, totals, flow = buffers
    tags = len(members)
    for k in range(tags):
        alpha[k] = marginals[max(start - 1, 0), k] if start or members[k] else 0.0
    for token in range(max(start, 1), end):
        _weigh(emissions[token], beta[token], weights)
        if not _divide_by_total(alpha, weights, parameters, totals):
            return np.nan
        multiply(alpha, within if token > start else between, flow)
        for k in range(tags):
            alpha[k] = flow[k] * weights[k] if members[k] else 0.0
    if end < length:
        _weigh(emissions[end], beta[end], weights)
        if not _divide_by_total(alpha, weights, parameters, totals):
            return np.nan
        multiply(weights, between_transposed, flow)
        for k in range(tags):
            alpha[k] *= flow[k]
    total = 0.0
    for k in range(tags):
        total += alpha[k]
    return 1.0 if total > 1.0 else total  # NaN stays


@compiled_loop
def span_probabilities(
    batch: tuple[Array, ...],
    messages: tuple[Array, Array],
    spans: Array,
    members: Array,
    joins: Array,
    values: Array,
) -> None:
    """Fills probabilities (N,), NaN where a weight underflowed.

    Args:
        batch: emissions, transitions, start, end and lengths.
        messages: beta and marginals (B, T, K).
        spans: (N, 4) sentence, first token, end token (exclusive), and type.
        members: (types, K) booleans, the tags of a type.
        joins: (K, K) booleans, whether two consecutive tags are in one span.
        values: (N,) output.
    """
    emissions, transitions, start, end, lengths = batch
    beta, marginals = messages
    tags, size = len(start), padded_size(len(start))
    parameters = make_parameters(transitions, start, end)
    between, within = parameters.factors.copy(), parameters.factors.copy()
    for i in range(tags):
        for j in range(tags):
            if joins[i, j]:
                between[i, j] = 0.0
            else:
                within[i, j] = 0.0
    steps = between, within, between.T.copy()
    buffers = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    for row in range(len(spans)):
        sentence, kind = spans[row, 0], spans[row, 3]
        values[row] = _span_probability(
            (emissions[sentence], beta[sentence], marginals[sentence]),
            (spans[row, 1], spans[row, 2], lengths[sentence]),
            members[kind],
            steps,
            parameters,
            buffers,
        )
