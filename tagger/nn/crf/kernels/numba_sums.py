"""Compiled loops of the numba kernel: sums over all paths, their gradients and the forward-backward messages.

Shapes in this module: B sentences, T tokens in the longest one, K tags, P ≥ K.

Sums run over exponentials in float64, from the last token to the first, rescaled where they leave the range
[1e-20, 1e20]. Where float64 cannot hold a weight that may matter, the sentence gets the status LOST, not a wrong
result. Every entry function processes sentences `first` to `stop`, so that threads can share a batch, and releases the
GIL.

Rows have P numbers: the tags padded with zeros to a multiple of 4. Products process four rows at a time, since entering
a loop over 17 numbers costs as much as running it.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.nn.kernels.compiling import compiled

Array = NDArray[Any]
TINY = 1e-250
"""Smaller sums of weights may have lost a term to underflow."""
DONE, IMPOSSIBLE, LOST, INVALID = range(4)
"""Outcomes of a sentence: computed, no path of finite score, out of range, invalid length."""


class Parameters(NamedTuple):
    """The parameters that all sentences share, and their weights: exp(score − highest).

    Attributes:
        transitions: (K, K) parameters.
        start: (K,) parameters.
        end: (K,) parameters.
        factors: (P, P) weights of the transitions.
        transposed: (P, P) the transpose of `factors`.
        start_weights: (K,).
        end_weights: (K,).
        highest: (3,) the highest transition, start and end score.
    """

    transitions: Array
    start: Array
    end: Array
    factors: Array
    transposed: Array
    start_weights: Array
    end_weights: Array
    highest: Array


class Workspace(NamedTuple):
    """The result of a backward pass, by token.

    Attributes:
        beta: (T, P) the summed weight of all continuations after a tag, scaled.
        continuation: (T, P) beta times the weight of the tag's emission.
        scale: (T,) factor applied to a token's beta.
        shift: (T,) log of the factor that restores beta.
    """

    beta: Array
    continuation: Array
    scale: Array
    shift: Array


# "contract" allows fused multiply-add; infinities and NaN keep their meaning.
compiled_loop = compiled(fastmath={"contract"})


@compiled_loop
def padded_size(tags: int) -> int:
    """Returns the row size P of K tags."""
    return (tags + 3) // 4 * 4


@compiled_loop
def exp(score: float) -> float:
    """Returns the exponential of a score ≤ 0 to 12 digits; unlike math.exp, LLVM vectorises it."""
    part = (-800.0 if score < -800.0 else score) * (1 / 4096)
    power = 1 + part * (1 / 8) * (1 + part * (1 / 9) * (1 + part * (1 / 10)))
    power = 1 + part * (1 / 4) * (1 + part * (1 / 5) * (1 + part * (1 / 6) * (1 + part * (1 / 7) * power)))
    power = 1 + part * (1 + part * (1 / 2) * (1 + part * (1 / 3) * power))
    for _ in range(12):
        power *= power
    return power


@compiled_loop
def multiply(row: Array, matrix: Array, product: Array) -> None:
    """Fills `product` (P,) with row (P,) times matrix (P, P)."""
    columns = len(product)
    product[:] = 0.0
    for i in range(0, len(matrix), 4):
        a = row[i]
        b = row[i + 1]
        c = row[i + 2]
        d = row[i + 3]
        first = matrix[i]
        second = matrix[i + 1]
        third = matrix[i + 2]
        fourth = matrix[i + 3]
        for j in range(columns):
            product[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]


@compiled_loop
def _add_products(left: Array, right: Array, sums: Array) -> None:
    """Adds the outer products of the rows of left and right (L, P) to `sums` (P, P)."""
    size, whole = len(sums), len(left) // 4 * 4
    for t in range(0, whole, 4):
        first = right[t]
        second = right[t + 1]
        third = right[t + 2]
        fourth = right[t + 3]
        for i in range(size):
            a = left[t, i]
            b = left[t + 1, i]
            c = left[t + 2, i]
            d = left[t + 3, i]
            row = sums[i]
            for j in range(size):
                row[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]
    for t in range(whole, len(left)):
        for i in range(size):
            for j in range(size):
                sums[i, j] += left[t, i] * right[t, j]


@compiled_loop
def highest_score(scores: Array) -> float:
    """Returns the highest score, NaN if any score is."""
    highest = -np.inf
    for score in scores:
        if score > highest or score != score:
            highest = np.float64(score)
    return highest


@compiled_loop
def make_parameters(transitions: Array, start: Array, end: Array) -> Parameters:
    """Returns the scores and their weights."""
    tags, size = len(start), padded_size(len(start))
    highest = np.array([-np.inf, highest_score(start), highest_score(end)])
    for i in range(tags):
        highest[0] = max(highest[0], highest_score(transitions[i]))
    for k in range(3):
        highest[k] = 0.0 if highest[k] == -np.inf else highest[k]
    factors, transposed = np.zeros((size, size)), np.zeros((size, size))
    start_weights, end_weights = np.empty(tags), np.empty(tags)
    for i in range(tags):
        start_weights[i], end_weights[i] = exp(start[i] - highest[1]), exp(end[i] - highest[2])
        for j in range(tags):
            factors[i, j] = transposed[j, i] = exp(transitions[i, j] - highest[0])
    return Parameters(transitions, start, end, factors, transposed, start_weights, end_weights, highest)


@compiled_loop
def _make_workspace(tokens: int, tags: int) -> Workspace:
    size = padded_size(tags)
    return Workspace(np.zeros((tokens, size)), np.zeros((tokens, size)), np.empty(tokens), np.empty(tokens))


@compiled_loop
def weigh(row: Array, top: float, beta: Array, continuation: Array) -> None:
    """Fills `continuation` (P,) with the weights of emissions (K,), whose maximum is `top`, times beta (P,)."""
    for k in range(len(row)):
        continuation[k] = exp(row[k] - top) * beta[k]


@compiled_loop
def _is_lost(emissions: Array, beta: Array, previous: Array, transitions: Array) -> bool:
    """Returns whether a weight (K,) of the previous token underflowed although a path has it; sets the others to 0."""
    for i in range(len(transitions)):
        if previous[i] < TINY:
            for j in range(len(transitions)):
                if transitions[i, j] > -np.inf and emissions[j] > -np.inf and beta[j] > 0.0:
                    return True
            previous[i] = 0.0
    return False


@compiled_loop
def _backward_pass(emissions: Array, length: int, parameters: Parameters, workspace: Workspace) -> tuple[int, float]:
    """Returns the status and the log-partition of one sentence (T, K), and fills the workspace."""
    beta, continuation, scale, shift = workspace
    tags = len(parameters.start)
    for k in range(tags):
        beta[length - 1, k] = parameters.end_weights[k]
        if beta[length - 1, k] < TINY and parameters.end[k] > -np.inf:
            return LOST, np.nan
    shift[length - 1] = parameters.highest[2]
    for token in range(length - 1, 0, -1):
        row, current, weighted, previous = emissions[token], beta[token], continuation[token], beta[token - 1]
        top = highest_score(row)
        if top == -np.inf:
            return IMPOSSIBLE, -np.inf
        weigh(row, top, current, weighted)
        multiply(weighted, parameters.transposed, previous)
        total, lowest = 0.0, 1.0
        for k in range(tags):
            total += previous[k]
            lowest = min(lowest, previous[k])
        if lowest < TINY and _is_lost(row, current, previous, parameters.transitions):
            return LOST, np.nan
        if total == 0.0:
            return IMPOSSIBLE, -np.inf
        shift[token - 1] = shift[token] + top + parameters.highest[0]
        scale[token] = 1.0
        if not 1e-20 < total < 1e20:
            scale[token] = 1.0 / total
            shift[token - 1] += math.log(total)
            for k in range(tags):
                previous[k] *= scale[token]
    top = highest_score(emissions[0])
    if top == -np.inf:
        return IMPOSSIBLE, -np.inf
    total = 0.0
    weigh(emissions[0], top, beta[0], continuation[0])
    for k in range(tags):
        total += continuation[0, k] * parameters.start_weights[k]
    if total < TINY:
        for k in range(tags):
            if parameters.start[k] > -np.inf and emissions[0, k] > -np.inf and beta[0, k] > 0.0:
                return LOST, np.nan
        return IMPOSSIBLE, -np.inf
    return DONE, math.log(total) + parameters.highest[1] + top + shift[0]


@compiled_loop
def _gold_score(emissions: Array, gold: Array, weights: Array, parameters: Parameters, workspace: Workspace) -> float:
    """Returns what to subtract from the weighted log-partition for gold tags (L,); NaN if one is not in [0, K)."""
    tags, last = len(weights), len(gold) - 1
    total = 0.0
    for token in range(len(gold)):
        tag = gold[token]
        if not 0 <= tag < tags:
            return np.nan
        score = np.float64(emissions[token, tag])
        score += parameters.transitions[gold[token - 1], tag] if token else parameters.start[tag]
        if token == last:
            score += parameters.end[tag]
        total += weights[tag] * score
        if token < last and 0 <= gold[token + 1] < tags and weights[gold[token + 1]] != weights[tag]:
            change = weights[gold[token + 1]] - weights[tag]
            total -= change * (math.log(workspace.beta[token, tag]) + workspace.shift[token])
    return total


@compiled_loop
def _loss(
    emissions: Array, length: int, gold: Array, weights: Array, parameters: Parameters, workspace: Workspace
) -> tuple[int, float]:
    """Returns the status and the loss of one sentence (T, K); its log-partition if `gold` (T,) is empty."""
    if not 1 <= length <= len(emissions):
        return INVALID, np.nan
    status, value = _backward_pass(emissions, length, parameters, workspace)
    if status == DONE and len(gold):
        tag = gold[0]
        total = _gold_score(emissions, gold[:length], weights, parameters, workspace)
        value = weights[tag] * value - total if 0 <= tag < len(weights) else np.nan
    return status, value


@compiled_loop
def losses(
    batch: tuple[Array, ...], gold: Array, weights: Array, rows: tuple[int, int], values: Array, outcomes: Array
) -> int:
    """Returns how many sentences are LOST, and fills their losses and outcomes (B,).

    Args:
        batch: emissions, transitions, start, end and lengths.
        gold: (B, T) tag ids; (B, 0) for log-partitions instead of losses.
        weights: (K,) by gold tag.
        rows: the first sentence, and the one after the last.
        values: (B,) output.
        outcomes: (B,) output.
    """
    emissions, transitions, start, end, lengths = batch
    _, tokens, tags = emissions.shape
    parameters, workspace, lost = make_parameters(transitions, start, end), _make_workspace(tokens, tags), 0
    for sentence in range(rows[0], rows[1]):
        arguments = emissions[sentence], lengths[sentence], gold[sentence]
        outcomes[sentence], values[sentence] = _loss(*arguments, weights, parameters, workspace)
        lost += outcomes[sentence] == LOST
    return lost


@compiled_loop
def _advance(alpha: Array, token: int, parameters: Parameters, workspace: Workspace, flow: Array) -> None:
    """Moves the probabilities `alpha` (K,) of the previous token's tags to a token's; overwrites the previous beta."""
    beta, continuation, scale, _ = workspace
    previous, weighted = beta[token - 1], continuation[token]
    for k in range(len(alpha)):
        weight = previous[k] if previous[k] > 0.0 else 1.0  # a tag without continuation has probability 0
        previous[k] = alpha[k] * scale[token] / weight
    multiply(previous, parameters.factors, flow)
    for k in range(len(alpha)):
        alpha[k] = flow[k] * weighted[k]


@compiled_loop
def losses_and_gradients(
    batch: tuple[Array, ...],
    gold: Array,
    weights: Array,
    rows: tuple[int, int],
    results: tuple[Array, Array],
    gradients: tuple[Array, Array, Array],
) -> int:
    """Returns how many sentences are LOST, fills losses, outcomes and emission gradients, adds parameter gradients.

    Gradients are expected counts: alpha starts at the first token and moves on by the transition probabilities. Where
    the weight of the gold tag changes, the loss contains beta of a gold tag, so the difference is added to alpha there.

    Args:
        batch: emissions, transitions, start, end and lengths.
        gold: (B, T) tag ids; (B, 0) for log-partitions instead of losses.
        weights: (K,) by gold tag.
        rows: the first sentence, and the one after the last.
        results: losses (B,) and outcomes (B,), outputs.
        gradients: that of the losses (B,), an input; of the emissions (B, T, K), an output; of the parameters
            (K + 2, K), an output: a row per previous tag, one for the start, one for the end.
    """
    emissions, transitions, start, end, lengths = batch
    values, outcomes = results
    grad_output, emission_gradient, parameter_gradient = gradients
    _, tokens, tags = emissions.shape
    parameters, workspace, lost = make_parameters(transitions, start, end), _make_workspace(tokens, tags), 0
    beta, continuation, _, _ = workspace
    size = padded_size(tags)
    alpha, flow, counts = np.empty(tags), np.empty(size), np.zeros((size, size))
    for sentence in range(rows[0], rows[1]):
        length, grad, path = lengths[sentence], grad_output[sentence], gold[sentence]
        emission_gradient[sentence] = 0.0
        outcomes[sentence], values[sentence] = _loss(emissions[sentence], length, path, weights, parameters, workspace)
        lost += outcomes[sentence] == LOST
        if outcomes[sentence] != DONE or not math.isfinite(values[sentence]):
            continue
        total = 0.0
        for k in range(tags):
            alpha[k] = continuation[0, k] * parameters.start_weights[k]
            total += alpha[k]
        for k in range(tags):
            alpha[k] *= grad / total * (weights[path[0]] if len(path) else 1.0)
        for token in range(length):
            if token:
                _advance(alpha, token, parameters, workspace, flow)
            for k in range(tags):
                emission_gradient[sentence, token, k] = alpha[k]
            if token == 0:
                for k in range(tags):
                    parameter_gradient[tags, k] += alpha[k]
            if token == length - 1:
                for k in range(tags):
                    parameter_gradient[tags + 1, k] += alpha[k]
            if len(path):
                tag = path[token]
                weight = grad * weights[tag]
                emission_gradient[sentence, token, tag] = alpha[tag] - weight
                if token:
                    parameter_gradient[path[token - 1], tag] -= weight
                else:
                    parameter_gradient[tags, tag] -= weight
                if token == length - 1:
                    parameter_gradient[tags + 1, tag] -= weight
                else:
                    alpha[tag] += grad * weights[path[token + 1]] - weight
        _add_products(beta[: length - 1], continuation[1:length], counts)
    for i in range(tags):
        for j in range(tags):
            parameter_gradient[i, j] += counts[i, j] * parameters.factors[i, j]
    return lost


@compiled_loop
def _forward_pass(parameters: Parameters, workspace: Workspace, marginals: Array) -> None:
    """Fills the marginals (L, K) of a sentence after its backward pass."""
    beta, continuation, scale, _ = workspace
    tags, size = len(parameters.start), len(parameters.factors)
    alpha, ratios, flow = np.zeros(size), np.zeros(size), np.empty(size)
    total = 0.0
    for k in range(tags):
        alpha[k] = continuation[0, k] * parameters.start_weights[k]
        total += alpha[k]
    for k in range(size):
        alpha[k] /= total
    for token in range(len(marginals)):
        if token:
            previous, weighted, factor = beta[token - 1], continuation[token], scale[token]
            for k in range(size):
                weight = previous[k]
                ratios[k] = alpha[k] * factor / (weight if weight > 0.0 else 1.0)  # alpha is 0 where the weight is
            multiply(ratios, parameters.factors, flow)
            for k in range(size):
                alpha[k] = flow[k] * weighted[k]
        row = marginals[token]
        for k in range(tags):
            row[k] = 1.0 if alpha[k] > 1.0 else alpha[k]  # NaN stays


@compiled_loop
def messages(
    batch: tuple[Array, ...], rows: tuple[int, int], results: tuple[Array, Array], betas: Array, marginals: Array
) -> int:
    """Returns how many sentences are LOST, and fills log-partitions, outcomes, exp(beta) and marginals.

    Args:
        batch: emissions, transitions, start, end and lengths.
        rows: the first sentence, and the one after the last.
        results: log-partitions (B,) and outcomes (B,), outputs.
        betas: (B, T, P) output in float64, scaled per token; zeros on entry.
        marginals: (B, T, K) output; zeros on entry.
    """
    emissions, transitions, start, end, lengths = batch
    values, outcomes = results
    _, tokens, tags = emissions.shape
    parameters, lost = make_parameters(transitions, start, end), 0
    _, continuation, scale, shift = _make_workspace(tokens, tags)
    for sentence in range(rows[0], rows[1]):
        length = lengths[sentence]
        outcomes[sentence], values[sentence] = INVALID, np.nan
        if not 1 <= length <= tokens:
            continue
        workspace = Workspace(betas[sentence], continuation, scale, shift)
        outcomes[sentence], values[sentence] = _backward_pass(emissions[sentence], length, parameters, workspace)
        lost += outcomes[sentence] == LOST
        if outcomes[sentence] == DONE:
            _forward_pass(parameters, workspace, marginals[sentence, :length])
    return lost
