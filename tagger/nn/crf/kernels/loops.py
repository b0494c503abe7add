"""Exact inference as loops over numbers, compiled for the CPU by numba.

Shapes in this module: B sentences, T tokens in the longest one, K tags, P ≥ K.

The sums run over exponentials in float64, from the last token to the first, scaled wherever they leave the middle of
their range. It goes to e^±700, room for the scores of any model that was trained. Where that is not enough, the number
that would be lost is noticed, and the sentence is reported as lost instead of computed wrongly. Each entry takes the
sentences from `begin` to `stop`, so that threads can share a batch, and holds no lock on the interpreter.

Rows are P numbers wide, the tags filled up with zeros to a multiple of 4, and products take four rows at a time: a loop
over 17 numbers costs as much to enter as to run.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagger.nn.kernels.compiling import compiled

Array = NDArray[Any]
TINY = 1e-250  # a summed weight below this may have lost part of what makes it up
DONE, IMPOSSIBLE, LOST, INVALID = range(4)  # how it went with a sentence


class Scores(NamedTuple):
    """What all sentences share: scores, and weights, which are exp(score − highest).

    Attributes:
        transitions: (K, K) scores.
        start: (K,) scores.
        end: (K,) scores.
        factors: (P, P) the weights of the transitions.
        is_reversed: (P, P) their transpose.
        begun: (K,) the weights of the start.
        ended: (K,) those of the end.
        highest: (3,) the highest score of a transition, the start and the end.
    """

    transitions: Array
    start: Array
    end: Array
    factors: Array
    is_reversed: Array
    begun: Array
    ended: Array
    highest: Array


class Space(NamedTuple):
    """What a sweep leaves, by token.

    Attributes:
        suffix: (T, P) the summed weight of all ways to go on after a tag, scaled.
        after: (T, P) that times the weight of the tag itself.
        scale: (T,) what the sums over a token's tags were multiplied by.
        shift: (T,) the logarithm of what suffix is to be multiplied by.
    """

    suffix: Array
    after: Array
    scale: Array
    shift: Array


# "contract" lets a product and a sum become one instruction; infinities and NaN keep their meaning.
_compiled = compiled(fastmath={"contract"})


@_compiled
def _padded(tags: int) -> int:
    return (tags + 3) // 4 * 4


@_compiled
def _exp(score: float) -> float:
    """Returns exp of a score of at most 0 to 12 digits; unlike math.exp, it can be computed for four at a time."""
    part = (-800.0 if score < -800.0 else score) * (1 / 4096)
    power = 1 + part * (1 / 8) * (1 + part * (1 / 9) * (1 + part * (1 / 10)))
    power = 1 + part * (1 / 4) * (1 + part * (1 / 5) * (1 + part * (1 / 6) * (1 + part * (1 / 7) * power)))
    power = 1 + part * (1 + part * (1 / 2) * (1 + part * (1 / 3) * power))
    for _ in range(12):
        power *= power
    return power


@_compiled
def _multiply(row: Array, matrix: Array, product: Array) -> None:
    """Fills (P,) with the product of a row (P,) and a matrix (P, P)."""
    width = len(product)
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
        for j in range(width):
            product[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]


@_compiled
def _add_products(left: Array, right: Array, sums: Array) -> None:
    """Adds to (P, P) the products of rows (L, P) with rows (L, P)."""
    width, whole = len(sums), len(left) // 4 * 4
    for t in range(0, whole, 4):
        first = right[t]
        second = right[t + 1]
        third = right[t + 2]
        fourth = right[t + 3]
        for i in range(width):
            a = left[t, i]
            b = left[t + 1, i]
            c = left[t + 2, i]
            d = left[t + 3, i]
            row = sums[i]
            for j in range(width):
                row[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]
    for t in range(whole, len(left)):
        for i in range(width):
            for j in range(width):
                sums[i, j] += left[t, i] * right[t, j]


@_compiled
def _highest(scores: Array) -> float:
    """Returns the highest score, or NaN if there is one."""
    highest = -np.inf
    for score in scores:
        if score > highest or score != score:
            highest = np.float64(score)
    return highest


@_compiled
def _shared(transitions: Array, start: Array, end: Array) -> Scores:
    tags = len(start)
    highest = np.array([-np.inf, _highest(start), _highest(end)])
    for i in range(tags):
        highest[0] = max(highest[0], _highest(transitions[i]))
    for k in range(3):
        highest[k] = 0.0 if highest[k] == -np.inf else highest[k]
    factors, is_reversed = np.zeros((_padded(tags), _padded(tags))), np.zeros((_padded(tags), _padded(tags)))
    begun, ended = np.empty(tags), np.empty(tags)
    for i in range(tags):
        begun[i], ended[i] = _exp(start[i] - highest[1]), _exp(end[i] - highest[2])
        for j in range(tags):
            factors[i, j] = is_reversed[j, i] = _exp(transitions[i, j] - highest[0])
    return Scores(transitions, start, end, factors, is_reversed, begun, ended, highest)


@_compiled
def _space(tokens: int, tags: int) -> Space:
    width = _padded(tags)
    return Space(np.zeros((tokens, width)), np.zeros((tokens, width)), np.empty(tokens), np.empty(tokens))


@_compiled
def _weigh(row: Array, top: float, suffix: Array, after: Array) -> None:
    for k in range(len(row)):
        after[k] = _exp(row[k] - top) * suffix[k]


@_compiled
def _loses(emissions: Array, suffix: Array, before: Array, transitions: Array) -> bool:
    """Returns whether a weight (K,) of the tags before is too small to hold what should be in it, not nothing."""
    for i in range(len(transitions)):
        if before[i] < TINY:
            for j in range(len(transitions)):
                if transitions[i, j] > -np.inf and emissions[j] > -np.inf and suffix[j] > 0.0:
                    return True
            before[i] = 0.0
    return False


@_compiled
def _sweep(emissions: Array, length: int, scores: Scores, space: Space) -> tuple[int, float]:
    """Returns how it went with one sentence (T, K) and its log-partition, and fills the space."""
    suffix, after, scale, shift = space
    tags = len(scores.start)
    for k in range(tags):
        suffix[length - 1, k] = scores.ended[k]
        if suffix[length - 1, k] < TINY and scores.end[k] > -np.inf:
            return LOST, np.nan
    shift[length - 1] = scores.highest[2]
    for token in range(length - 1, 0, -1):
        row = emissions[token]
        here = suffix[token]
        going = after[token]
        before = suffix[token - 1]
        top = _highest(row)
        if top == -np.inf:
            return IMPOSSIBLE, -np.inf
        _weigh(row, top, here, going)
        _multiply(going, scores.is_reversed, before)
        total, lowest = 0.0, 1.0
        for k in range(tags):
            total += before[k]
            lowest = min(lowest, before[k])
        if lowest < TINY and _loses(row, here, before, scores.transitions):
            return LOST, np.nan
        if total == 0.0:
            return IMPOSSIBLE, -np.inf
        shift[token - 1] = shift[token] + top + scores.highest[0]
        scale[token] = 1.0
        if not 1e-20 < total < 1e20:
            scale[token] = 1.0 / total
            shift[token - 1] += math.log(total)
            for k in range(tags):
                before[k] *= scale[token]
    top = _highest(emissions[0])
    if top == -np.inf:
        return IMPOSSIBLE, -np.inf
    total = 0.0
    _weigh(emissions[0], top, suffix[0], after[0])
    for k in range(tags):
        total += after[0, k] * scores.begun[k]
    if total < TINY:
        for k in range(tags):
            if scores.start[k] > -np.inf and emissions[0, k] > -np.inf and suffix[0, k] > 0.0:
                return LOST, np.nan
        return IMPOSSIBLE, -np.inf
    return DONE, math.log(total) + scores.highest[1] + top + shift[0]


@_compiled
def _lower(emissions: Array, gold: Array, weights: Array, scores: Scores, space: Space) -> float:
    """Returns what gold tags (L,) take off the weighted partition of a sentence; NaN if one is no tag."""
    tags, last = len(weights), len(gold) - 1
    lower = 0.0
    for token in range(len(gold)):
        tag = gold[token]
        if not 0 <= tag < tags:
            return np.nan
        gain = np.float64(emissions[token, tag])
        gain += scores.transitions[gold[token - 1], tag] if token else scores.start[tag]
        if token == last:
            gain += scores.end[tag]
        lower += weights[tag] * gain
        if token < last and 0 <= gold[token + 1] < tags and weights[gold[token + 1]] != weights[tag]:
            change = weights[gold[token + 1]] - weights[tag]
            lower -= change * (math.log(space.suffix[token, tag]) + space.shift[token])
    return lower


@_compiled
def _likelihood(
    emissions: Array, length: int, gold: Array, sentence: int, weights: Array, scores: Scores, space: Space
) -> tuple[int, float]:
    """Returns how it went with one sentence (T, K), and its negative log-likelihood."""
    if not 1 <= length <= len(emissions):
        return INVALID, np.nan
    outcome, value = _sweep(emissions, length, scores, space)
    if outcome == DONE and len(gold):
        tag = gold[sentence, 0]
        lower = _lower(emissions, gold[sentence, :length], weights, scores, space)
        value = weights[tag] * value - lower if 0 <= tag < len(weights) else np.nan
    return outcome, value


@_compiled
def likelihood(
    emissions: Array,
    transitions: Array,
    start: Array,
    end: Array,
    lengths: Array,
    gold: Array,
    weights: Array,
    begin: int,
    stop: int,
    values: Array,
    outcomes: Array,
) -> int:
    """Returns how many sentences are lost.

    Fills (B,) how it went and the log-partition, or the negative log-likelihood if gold (B, T) has a row.
    """
    _, tokens, tags = emissions.shape
    scores, space, lost = _shared(transitions, start, end), _space(tokens, tags), 0
    for sentence in range(begin, stop):
        one = emissions[sentence], lengths[sentence], gold, sentence
        outcomes[sentence], values[sentence] = _likelihood(*one, weights, scores, space)
        lost += outcomes[sentence] == LOST
    return lost


@_compiled
def _pass_on(mass: Array, token: int, scores: Scores, space: Space, flow: Array) -> None:
    """Turns the mass (K,) on the tags of the token before into that on a token's; suffix becomes their ratio."""
    suffix, after, scale, _ = space
    before = suffix[token - 1]
    going = after[token]
    for k in range(len(mass)):
        weight = before[k] if before[k] > 0.0 else 1.0  # a tag that nothing follows has no mass to pass on
        before[k] = mass[k] * scale[token] / weight
    _multiply(before, scores.factors, flow)
    for k in range(len(mass)):
        mass[k] = flow[k] * going[k]


@_compiled
def gradient(
    emissions: Array,
    transitions: Array,
    start: Array,
    end: Array,
    lengths: Array,
    gold: Array,
    weights: Array,
    begin: int,
    stop: int,
    values: Array,
    outcomes: Array,
    shares: Array,
    by_emission: Array,
    by_parameter: Array,
) -> int:
    """Does what `likelihood` does, fills (B, T, K) the gradient of the emissions and adds those of the parameters.

    These are (K + 2, K): a row for each tag before, one for the start, one for the end.

    They are expected counts: mass, put in before the first token, flows on as the probabilities of the next tag tell.
    Where the weights of the gold tags change, the loss holds the log of what goes on after one: mass is added there.

    Args: as for `likelihood`, and `shares` (B,) the gradient of its values.
    """
    _, tokens, tags = emissions.shape
    scores, space, lost = _shared(transitions, start, end), _space(tokens, tags), 0
    suffix, after, _, _ = space
    width = _padded(tags)
    mass, flow, counts = np.empty(tags), np.empty(width), np.zeros((width, width))
    for sentence in range(begin, stop):
        length, share = lengths[sentence], shares[sentence]
        by_emission[sentence] = 0.0
        one = emissions[sentence], length, gold, sentence
        outcomes[sentence], values[sentence] = _likelihood(*one, weights, scores, space)
        lost += outcomes[sentence] == LOST
        if outcomes[sentence] != DONE or not math.isfinite(values[sentence]):
            continue
        total = 0.0
        for k in range(tags):
            mass[k] = after[0, k] * scores.begun[k]
            total += mass[k]
        for k in range(tags):
            mass[k] *= share / total * (weights[gold[sentence, 0]] if len(gold) else 1.0)
        for token in range(length):
            if token:
                _pass_on(mass, token, scores, space, flow)
            for k in range(tags):
                by_emission[sentence, token, k] = mass[k]
            if token == 0:
                for k in range(tags):
                    by_parameter[tags, k] += mass[k]
            if token == length - 1:
                for k in range(tags):
                    by_parameter[tags + 1, k] += mass[k]
            if len(gold):
                tag = gold[sentence, token]
                weight = share * weights[tag]
                by_emission[sentence, token, tag] = mass[tag] - weight
                if token:
                    by_parameter[gold[sentence, token - 1], tag] -= weight
                else:
                    by_parameter[tags, tag] -= weight
                if token == length - 1:
                    by_parameter[tags + 1, tag] -= weight
                else:
                    mass[tag] += share * weights[gold[sentence, token + 1]] - weight
        _add_products(suffix[: length - 1], after[1:length], counts)
    for i in range(tags):
        for j in range(tags):
            by_parameter[i, j] += counts[i, j] * scores.factors[i, j]
    return lost


@_compiled
def messages(
    emissions: Array,
    transitions: Array,
    start: Array,
    end: Array,
    lengths: Array,
    begin: int,
    stop: int,
    values: Array,
    outcomes: Array,
    suffixes: Array,
    marginals: Array,
) -> int:
    """Returns how many sentences are lost.

    Fills (B,) the log-partition and how it went, (B, T, K) the log of the scaled suffix and the marginals.
    """
    _, tokens, tags = emissions.shape
    scores, space, lost = _shared(transitions, start, end), _space(tokens, tags), 0
    suffix, after, _, _ = space
    mass, flow = np.empty(tags), np.empty(_padded(tags))
    for sentence in range(begin, stop):
        length = lengths[sentence]
        suffixes[sentence] = 0.0
        marginals[sentence] = 0.0
        outcomes[sentence], values[sentence] = INVALID, np.nan
        if not 1 <= length <= tokens:
            continue
        outcomes[sentence], values[sentence] = _sweep(emissions[sentence], length, scores, space)
        lost += outcomes[sentence] == LOST
        if outcomes[sentence] != DONE:
            continue
        for token in range(length):
            for k in range(tags):
                weight = suffix[token, k]
                suffixes[sentence, token, k] = math.log(weight) if weight > 0.0 else -np.inf
        for k in range(tags):
            mass[k] = after[0, k] * scores.begun[k]
        for token in range(length):
            if token:
                _pass_on(mass, token, scores, space, flow)
            total = 0.0
            for k in range(tags):
                total += mass[k]
            for k in range(tags):
                mass[k] /= total
                marginals[sentence, token, k] = mass[k]
    return lost


@_compiled
def _best_ways(scores: Array, top: float, transitions: Array, best: Array, other: Array) -> Array:
    """Returns (P,) the highest score of coming from any tag, less top, or best if higher, in either of the last two."""
    width = len(best)
    for i in range(0, len(transitions), 4):  # not width: LLVM then fails to vectorise
        a = scores[i] - top
        b = scores[i + 1] - top
        c = scores[i + 2] - top
        d = scores[i + 3] - top
        first = transitions[i]
        second = transitions[i + 1]
        third = transitions[i + 2]
        fourth = transitions[i + 3]
        for j in range(width):
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


@_compiled
def _broken(row: Array) -> bool:
    """Returns whether a number of a row is none."""
    total = 0
    for k in range(len(row)):
        total += row[k] != row[k]
    return total > 0


@_compiled
def best_path(
    emissions: Array,
    transitions: Array,
    start: Array,
    end: Array,
    lengths: Array,
    begin: int,
    stop: int,
    values: Array,
    paths: Array,
) -> None:
    """Fills (B,) the score and (B, T) the path; of equal scores the lowest id is taken, from the last token back.

    On the way forward it keeps scores alone; which tag a score came from is found again for the tags of the path.
    """
    _, tokens, tags = emissions.shape
    width = _padded(tags)
    widened = np.full((width, width), -np.inf, emissions.dtype)
    widened[:tags, :tags] = transitions
    is_reversed = widened.T.copy()
    scores, tops = np.full((tokens, width), -np.inf, emissions.dtype), np.zeros(tokens, emissions.dtype)
    one, two = np.empty(width, emissions.dtype), np.empty(width, emissions.dtype)
    for sentence in range(begin, stop):
        length = lengths[sentence]
        paths[sentence] = 0
        values[sentence] = np.nan
        if not 1 <= length <= tokens:
            continue
        broken = False
        for token in range(length):
            broken = broken or _broken(emissions[sentence, token])
        for k in range(tags):
            scores[0, k] = start[k] + emissions[sentence, 0, k]
        for token in range(1, length):
            row, before, here = emissions[sentence, token], scores[token - 1], scores[token]
            top = _highest(before)
            tops[token] = 0.0 if top == -np.inf else top
            one[:] = -np.inf
            best = _best_ways(before, tops[token], widened, one, two)
            for k in range(tags):
                here[k] = best[k] + row[k]
        tag = 0
        for k in range(1, tags):
            if scores[length - 1, k] + end[k] > scores[length - 1, tag] + end[tag]:
                tag = k
        value = np.float64(end[tag])
        for token in range(length - 1, 0, -1):
            paths[sentence, token] = tag
            value += emissions[sentence, token, tag]
            before, ways, top, came = scores[token - 1], is_reversed[tag], tops[token], 0
            for k in range(1, tags):
                if before[k] - top + ways[k] > before[came] - top + ways[came]:
                    came = k
            value += transitions[came, tag]
            tag = came
        paths[sentence, 0] = tag
        values[sentence] = np.nan if broken else value + start[tag] + emissions[sentence, 0, tag]


@_compiled
def _next_tags(row: Array, after: Array, shares: Array) -> None:
    """Fills (K,) with the probabilities of the next tag, from its transitions (K,) and what follows it (K,)."""
    top, total = row[0] + after[0], 0.0
    for k in range(1, len(row)):
        top = max(top, row[k] + after[k])
    for k in range(len(row)):
        shares[k] = math.exp(np.float64(row[k] + after[k] - top))
        total += shares[k]
    for k in range(len(row)):
        shares[k] /= total


@_compiled
def span_probabilities(
    transitions: Array,
    after: Array,
    marginals: Array,
    lengths: Array,
    spans: Array,
    members: Array,
    joins: Array,
    found: Array,
) -> None:
    """Fills (N,) how probable entities (N, 4) are; `after` (B, T, K) scores a tag and all that follows, floored."""
    tags = len(transitions)
    held, going, shares = np.empty(tags), np.empty(tags), np.empty(tags)
    for number in range(len(spans)):
        sentence, first, stop, kind = spans[number]
        for tag in range(tags):
            held[tag] = marginals[sentence, max(first - 1, 0), tag]
            if first == 0 and not members[kind, tag]:
                held[tag] = 0.0
        for token in range(max(first, 1), stop):
            going[:] = 0.0
            for before in range(tags):
                if held[before] > 0.0:
                    _next_tags(transitions[before], after[sentence, token], shares)
                    for tag in range(tags):
                        if members[kind, tag] and joins[before, tag] == (token > first):
                            going[tag] += held[before] * shares[tag]
            held[:] = going
        total = 0.0
        for before in range(tags):
            left = 1.0
            if held[before] > 0.0 and stop < lengths[sentence]:
                _next_tags(transitions[before], after[sentence, stop], shares)
                left = 0.0
                for tag in range(tags):
                    left += 0.0 if joins[before, tag] else shares[tag]
            total += held[before] * left
        found[number] = total
