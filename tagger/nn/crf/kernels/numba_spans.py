"""Compiled loops of the numba kernel: probabilities of spans.

Shapes in this module: B sentences, T tokens in the longest one, K tags, P ≥ K a multiple of 4, N spans.
"""

import numpy as np

from tagger.nn.crf.kernels.numba_sums import (
    TINY,
    Array,
    Parameters,
    compiled_loop,
    highest_score,
    make_parameters,
    multiply,
    padded_size,
    weigh,
)


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
        scores: emissions (T, K), exp(beta) (T, P) and marginals (T, K) of the sentence.
        span: first token, end token (exclusive), sentence length.
        members: (K,) booleans, the tags of the span's type.
        steps: (P, P) weights of transitions between spans; within a span; between spans, transposed.
        parameters: the chain's.
        buffers: four arrays (P,).
    """
    emissions, exp_beta, marginals = scores
    start, end, length = span
    separate, joined, separate_transposed = steps
    alpha, weights, totals, flow = buffers
    tags = len(members)
    for k in range(tags):
        alpha[k] = marginals[max(start - 1, 0), k] if start or members[k] else 0.0
    for token in range(max(start, 1), end):
        weigh(emissions[token], highest_score(emissions[token]), exp_beta[token], weights)
        if not _divide_by_total(alpha, weights, parameters, totals):
            return np.nan
        multiply(alpha, joined if token > start else separate, flow)
        for k in range(tags):
            alpha[k] = flow[k] * weights[k] if members[k] else 0.0
    if end < length:
        weigh(emissions[end], highest_score(emissions[end]), exp_beta[end], weights)
        if not _divide_by_total(alpha, weights, parameters, totals):
            return np.nan
        multiply(weights, separate_transposed, flow)
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
        messages: exp(beta) (B, T, P or K) and marginals (B, T, K).
        spans: (N, 4) sentence, first token, end token (exclusive), and type.
        members: (types, K) booleans, the tags of a type.
        joins: (K, K) booleans, whether two consecutive tags are in one span.
        values: (N,) output.
    """
    emissions, transitions, start, end, lengths = batch
    exp_beta, marginals = messages
    tags, size = len(start), padded_size(len(start))
    parameters = make_parameters(transitions, start, end)
    separate, joined = parameters.factors.copy(), parameters.factors.copy()
    for i in range(tags):
        for j in range(tags):
            if joins[i, j]:
                separate[i, j] = 0.0
            else:
                joined[i, j] = 0.0
    steps = separate, joined, separate.T.copy()
    buffers = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    for row in range(len(spans)):
        sentence, kind = spans[row, 0], spans[row, 3]
        values[row] = _span_probability(
            (emissions[sentence], exp_beta[sentence], marginals[sentence]),
            (spans[row, 1], spans[row, 2], lengths[sentence]),
            members[kind],
            steps,
            parameters,
            buffers,
        )
