"""Compiled loops of the numba kernel: the best path.

Shapes in this module: B sentences, T tokens in the longest one, K tags, P ≥ K a multiple of 4.
"""

import numpy as np

from tagger.nn.crf.kernels.numba_sums import Array, compiled_loop, highest_score, padded_size


@compiled_loop
def _extend(scores: Array, top: float, transitions: Array, best: Array, other: Array) -> Array:
    """Returns (P,) the maximum of `best` and the highest score of a step from any tag, minus `top`.

    The result is in one of the last two arguments.
    """
    columns = len(best)
    for i in range(0, len(transitions), 4):  # not columns: LLVM then fails to vectorise
        a = scores[i] - top
        b = scores[i + 1] - top
        c = scores[i + 2] - top
        d = scores[i + 3] - top
        first = transitions[i]
        second = transitions[i + 1]
        third = transitions[i + 2]
        fourth = transitions[i + 3]
        for j in range(columns):
            highest = best[j]
            score = a + first[j]
            highest = score if score > highest else highest
            score = b + second[j]
            highest = score if score > highest else highest
            score = c + third[j]
            highest = score if score > highest else highest
            score = d + fourth[j]
            highest = score if score > highest else highest
            other[j] = highest
        best, other = other, best
    return best


@compiled_loop
def _has_nan(row: Array) -> bool:
    count = 0
    for k in range(len(row)):
        count += row[k] != row[k]
    return count > 0


@compiled_loop
def best_path(batch: tuple[Array, ...], rows: tuple[int, int], values: Array, paths: Array) -> None:
    """Fills scores (B,) and paths (B, T); of equal scores the lowest id wins, from the last token back.

    The forward pass stores scores only; the backward pass computes the predecessor of each tag on the path again.

    Args:
        batch: emissions, transitions, start, end and lengths.
        rows: the first sentence, and the one after the last.
        values: (B,) output.
        paths: (B, T) output.
    """
    emissions, transitions, start, end, lengths = batch
    _, tokens, tags = emissions.shape
    size = padded_size(tags)
    padded = np.full((size, size), -np.inf, emissions.dtype)
    transposed = np.full((size, size), -np.inf, emissions.dtype)
    for i in range(tags):
        for j in range(tags):  # an assignment to a slice takes seconds to compile
            padded[i, j] = transposed[j, i] = transitions[i, j]
    scores, tops = np.full((tokens, size), -np.inf, emissions.dtype), np.zeros(tokens, emissions.dtype)
    buffer, other_buffer = np.empty(size, emissions.dtype), np.empty(size, emissions.dtype)
    for sentence in range(rows[0], rows[1]):
        length = lengths[sentence]
        paths[sentence] = 0
        values[sentence] = np.nan
        if not 1 <= length <= tokens:
            continue
        is_nan = False
        for token in range(length):
            is_nan = is_nan or _has_nan(emissions[sentence, token])
        for k in range(tags):
            scores[0, k] = start[k] + emissions[sentence, 0, k]
        for token in range(1, length):
            row, previous, current = emissions[sentence, token], scores[token - 1], scores[token]
            top = highest_score(previous)
            tops[token] = 0.0 if top == -np.inf else top
            buffer[:] = -np.inf
            best = _extend(previous, tops[token], padded, buffer, other_buffer)
            for k in range(tags):
                current[k] = best[k] + row[k]
        tag = 0
        for k in range(1, tags):
            if scores[length - 1, k] + end[k] > scores[length - 1, tag] + end[tag]:
                tag = k
        value = np.float64(end[tag])
        for token in range(length - 1, 0, -1):
            paths[sentence, token] = tag
            value += emissions[sentence, token, tag]
            previous, steps, top, source = scores[token - 1], transposed[tag], tops[token], 0
            for k in range(1, tags):
                if previous[k] - top + steps[k] > previous[source] - top + steps[source]:
                    source = k
            value += transitions[source, tag]
            tag = source
        paths[sentence, 0] = tag
        values[sentence] = np.nan if is_nan else value + start[tag] + emissions[sentence, 0, tag]
