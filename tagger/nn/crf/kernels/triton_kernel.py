# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""Exact inference on a GPU by Triton kernels, of which one program takes one sentence; nothing waits for the device.

Shapes in this module: B sentences, T tokens in the longest one, K tags, TILE ≥ K a power of two.

Scores are summed in the log domain in float32, less a shift at each token, and what adds up along a sentence is
float64. All is read off one sweep from the last token to the first, as in the portable kernel. The lanes from K to TILE
hold −inf. Transitions are filled up to (TILE, TILE), so that a thread has four columns of them: those are few numbers
beside its share of the matrix. They lie so that every sum and maximum runs down the columns, mostly within a thread.

Several threads make up a program. Where one reads what another wrote, there is a barrier between them.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from tagger.nn.crf.chain import Chain
from tagger.nn.crf.kernels import torch_kernel
from tagger.nn.crf.kernels.torch_kernel import Messages, no_gradient

AT_ONCE = tl.constexpr(128)  # tokens of a path that are looked up together
UNSPECIALISED = ["tokens", "tags"]  # one kernel for all batches: for Triton a width that 16 divides is another


def negative_log_likelihood(chain: Chain, gold: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Returns what the portable kernel does; its gradient cannot be differentiated again, and that of no path is 0."""
    weights = None if gold is None or weights is None else weights.double().contiguous()
    gold = None if gold is None else gold.contiguous()
    values: Tensor = _NegativeLogLikelihood.apply(*_contiguous(chain), gold, weights)  # type: ignore[no-untyped-call]
    return values


def messages(chain: Chain) -> Messages:
    """Returns what the portable kernel does, 0 for the marginals where there is no path; it has no gradient."""
    found: tuple[Tensor, Tensor, Tensor] = _Messages.apply(*_contiguous(chain))  # type: ignore[no-untyped-call]
    return Messages(*found)


def best_path(chain: Chain) -> tuple[Tensor, Tensor]:
    """Returns the very path that the portable kernel does, and its score; NaN where a score of a tag is."""
    chain = _contiguous(chain)
    pointers = torch.empty_like(chain.emissions, dtype=torch.uint8)
    paths = chain.lengths.new_zeros(chain.emissions.shape[:2])
    values = torch.empty_like(chain.lengths, dtype=torch.float64)
    _launch(_best_path_kernel, chain, *chain, _filled(chain.transitions), pointers, paths, values)
    return paths, values


def span_probabilities(chain: Chain, messages: Messages, spans: Tensor, members: Tensor, joins: Tensor) -> Tensor:
    """Does what the portable kernel does, by it."""
    return torch_kernel.span_probabilities(chain, messages, spans, members, joins)


class _NegativeLogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Tensor:
        suffix, values = _sweep(Chain(*tensors[:5]), *tensors[5:])
        ctx.save_for_backward(*tensors, suffix, values)
        return values

    @staticmethod
    def backward(ctx: Any, shares: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph: what follows would count as constant
            raise no_gradient("triton", "its gradient")
        *tensors, gold, weights, suffix, values = ctx.saved_tensors
        chain = Chain(*tensors)
        sentences, tokens, tags = chain.emissions.shape
        by_emission = torch.zeros_like(chain.emissions)
        # A sum over the batch, not additions in whatever order the programs end: the same every time.
        by_pair = by_emission.new_zeros(sentences, _tile(tags), _tile(tags)) if ctx.needs_input_grad[1] else None
        _expect(chain, gold, weights, suffix, values, shares.contiguous(), by_emission, by_pair)
        last = (chain.lengths - 1).clamp(0, tokens - 1)[:, None, None].expand(-1, 1, tags)
        by_transition = None if by_pair is None else by_pair.sum(0)[:tags, :tags]
        by_start, by_end = by_emission[:, 0].sum(0), by_emission.gather(1, last)[:, 0].sum(0)
        return by_emission, by_transition, by_start, by_end, None, None, None


class _Messages(torch.autograd.Function):
    """Only so that the way back ends in an error, not in silence."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        chain = Chain(*tensors)
        suffix, values = _sweep(chain)
        marginals = torch.zeros_like(chain.emissions)
        _expect(chain, None, None, suffix, values, None, marginals, None)
        unknown = values.isnan()[:, None, None] & chain.inside[:, :, None]
        return values, suffix, marginals.masked_fill(unknown, torch.nan)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise no_gradient("triton", "marginals")


def _contiguous(chain: Chain) -> Chain:
    return Chain(*(tensor.contiguous() for tensor in chain))


def _sweep(chain: Chain, gold: Tensor | None = None, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the suffixes (B, T, K), 0 in padding, and the values (B,)."""
    suffix = torch.zeros_like(chain.emissions)
    values = torch.empty_like(chain.lengths, dtype=torch.float64)
    totals = None if weights is None else suffix.new_empty(suffix.shape[:2], dtype=torch.float64)
    _launch(_suffix_kernel, chain, *chain, _filled(chain.transitions.t()), gold, weights, suffix, totals, values)
    return suffix, values


def _expect(chain: Chain, *further: Tensor | None) -> None:
    """Fills the last two, the gradients (B, T, K) and (B, TILE, TILE) if asked for; without gold and shares, marginals.

    Args:
        chain: the scores.
        further: what the gradient kernel takes from gold on, None for what is not wanted.
    """
    emissions, transitions, start, _, lengths = chain
    _launch(_gradient_kernel, chain, emissions, _filled(transitions), start, lengths, *further)


def _tile(tags: int) -> int:
    return max(16, int(triton.next_power_of_2(tags)))


def _filled(transitions: Tensor) -> Tensor:
    """Returns (TILE, TILE) with −inf in further rows and columns."""
    more = _tile(len(transitions)) - len(transitions)
    return functional.pad(transitions, (0, more, 0, more), value=-torch.inf).contiguous()


def _launch(kernel: Any, chain: Chain, *arguments: Tensor | None) -> None:
    sentences, tokens, tags = chain.emissions.shape
    tile = _tile(tags)
    with torch.cuda.device_of(chain.emissions):  # type: ignore[no-untyped-call]
        kernel[(sentences,)](*arguments, tokens, tags, tile=tile, num_warps={64: 4, 128: 8}.get(tile, 1))


@triton.jit(do_not_specialize=UNSPECIALISED)
def _suffix_kernel(
    emissions, transitions, start, end, lengths, filled, gold, weights,
    suffix, totals, values, tokens, tags, tile: tl.constexpr,
):  # fmt: skip
    """Fills suffix, values, and with weights the shifts (B, T) that were taken off the suffixes."""
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    if (length < 1) | (length > tokens):
        tl.store(values + sentence, float("nan"))
        return
    length = length.to(tl.int32)
    emissions += sentence * tokens * tags
    suffix += sentence * tokens * tags
    if weights is not None:
        totals += sentence * tokens
    lanes = tl.arange(0, tile)
    moves = _matrix(filled, lanes, tile)
    here = _row(end, 0, lanes, tags)
    total = tl.full((), 0.0, tl.float64)
    upcoming = _row(emissions, length - 1, lanes, tags)  # asked for a token ahead, since it takes long to come
    for token in range(length - 1, 0, -1):
        scores, highest = _shifted(upcoming)
        upcoming = _row(emissions, token - 1, lanes, tags)
        _store_row(suffix, token, here, lanes, tags)
        if weights is not None:
            tl.store(totals + token, total)
        after, shift = _shifted(scores + here)
        here = _log_sum(moves + after[:, None])
        total += highest.to(tl.float64) + shift
    _store_row(suffix, 0, here, lanes, tags)
    scores, highest = _shifted(upcoming)
    value = _log_sum(_row(start, 0, lanes, tags) + scores + here) + (total + highest)
    if gold is not None:
        if weights is not None:
            tl.store(totals, total)
        tl.debug_barrier()
        gold += sentence * tokens
        value = _gold_loss(emissions, transitions, start, end, gold, weights, suffix, totals, value, length, tags)
    tl.store(values + sentence, value)


@triton.jit(do_not_specialize=UNSPECIALISED)
def _gradient_kernel(
    emissions, filled, start, lengths, gold, weights, suffix, values, shares,
    by_emission, by_pair, tokens, tags, tile: tl.constexpr,
):  # fmt: skip
    """Sends probability from the first token to the last; of a sentence whose value is not finite, fills nothing."""
    sentence = tl.program_id(0).to(tl.int64)
    finite = tl.abs(tl.load(values + sentence)) < float("inf")
    if not finite:
        return
    length = tl.load(lengths + sentence).to(tl.int32)
    emissions += sentence * tokens * tags
    suffix += sentence * tokens * tags
    by_emission += sentence * tokens * tags
    lanes = tl.arange(0, tile)
    moves = _matrix(filled, lanes, tile)
    share, weight = 1.0, 1.0
    if shares is not None:
        share = tl.load(shares + sentence).to(tl.float32)
    if gold is not None:
        gold += sentence * tokens
        tag = tl.load(gold).to(tl.int32)
        if weights is not None:
            weight = tl.load(weights + tag).to(tl.float32)
    if by_pair is not None:
        counts = tl.zeros((tile, tile), tl.float32)
    before = _row(suffix, 0, lanes, tags)
    mass = tl.exp(_after(_row(emissions, 0, lanes, tags), before + _row(start, 0, lanes, tags)))
    mass *= weight / tl.sum(mass, 0)
    upcoming = _row(emissions, tl.minimum(1, length - 1), lanes, tags)
    upcoming_suffix = _row(suffix, tl.minimum(1, length - 1), lanes, tags)
    for token in range(1, length):
        row, here = upcoming, upcoming_suffix
        upcoming = _row(emissions, tl.minimum(token + 1, length - 1), lanes, tags)
        upcoming_suffix = _row(suffix, tl.minimum(token + 1, length - 1), lanes, tags)
        found = mass
        if gold is not None:
            found -= tl.where(lanes == tag, weight, 0.0)
            tag_after = tl.load(gold + token).to(tl.int32)
            if weights is not None:
                weight_after = tl.load(weights + tag_after).to(tl.float32)
                mass += tl.where(lanes == tag, weight_after - weight, 0.0)
                weight = weight_after
        _store_row(by_emission, token - 1, share * found, lanes, tags)
        # Added in the order of the suffix kernel, so that they round alike: what is left is the rounding of the suffix.
        after = _after(row, here)
        flow = mass[:, None] * tl.exp(moves + after[None, :] - _finite_or_zero(before)[:, None])
        mass = tl.sum(flow, 0)
        if weights is None:
            mass /= tl.sum(mass, 0)  # with weights it may add up to 0
        if by_pair is not None:
            counts += flow
            if gold is not None:
                counts -= tl.where((lanes[:, None] == tag) & (lanes[None, :] == tag_after), weight, 0.0)
        if gold is not None:
            tag = tag_after
        before = here
    if gold is not None:
        mass -= tl.where(lanes == tag, weight, 0.0)
    _store_row(by_emission, length - 1, share * mass, lanes, tags)
    if by_pair is not None:
        tl.store(by_pair + sentence * tile * tile + lanes[:, None] * tile + lanes[None, :], share * counts)


@triton.jit(do_not_specialize=UNSPECIALISED)
def _best_path_kernel(
    emissions, transitions, start, end, lengths, filled, pointers, paths, values, tokens, tags, tile: tl.constexpr
):
    """Fills paths and values; adds up the scores in the order of the portable kernel, so that ties are the same."""
    sentence = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + sentence)
    if (length < 1) | (length > tokens):
        tl.store(values + sentence, float("nan"))
        return
    length = length.to(tl.int32)
    emissions += sentence * tokens * tags
    pointers += sentence * tokens * tags
    paths += sentence * tokens
    lanes = tl.arange(0, tile)
    moves = _matrix(filled, lanes, tile)
    scores = _row(start, 0, lanes, tags) + _row(emissions, 0, lanes, tags)
    broken = scores != scores
    upcoming = _row(emissions, tl.minimum(1, length - 1), lanes, tags)
    for token in range(1, length):
        row = upcoming
        upcoming = _row(emissions, tl.minimum(token + 1, length - 1), lanes, tags)
        shift = _finite_or_zero(tl.max(scores, 0))
        extended = (scores - shift)[:, None] + moves
        best, pointer = tl.max(extended, 0, return_indices=True, return_indices_tie_break_left=True)
        pointer = tl.minimum(pointer, tags - 1)  # NaN may lead past the tags
        _store_row(pointers, token, pointer.to(tl.uint8), lanes, tags)
        scores = best + row
        broken |= scores != scores
    scores += _row(end, 0, lanes, tags)
    broken |= scores != scores
    tag = tl.minimum(tl.argmax(scores, 0, tie_break_left=True), tags - 1)
    tl.debug_barrier()
    for token in range(length - 1, 0, -1):
        tl.store(paths + token, tag.to(tl.int64))
        tag = tl.load(pointers + token * tags + tag).to(tl.int32)
    tl.store(paths, tag.to(tl.int64))
    tl.debug_barrier()
    score = tl.zeros((AT_ONCE,), tl.float64)
    for first in range(0, length, AT_ONCE):
        places = first + tl.arange(0, AT_ONCE)
        chosen, before, _known = _on_path(paths, places, length, tags)
        score += _gain(emissions, transitions, start, end, chosen, before, places, length, tags)
    number = tl.max(broken.to(tl.int32), 0) == 0
    tl.store(values + sentence, tl.where(number, tl.sum(score, 0), float("nan")))


@triton.jit
def _gold_loss(emissions, transitions, start, end, gold, weights, suffix, totals, partition, length, tags):
    """Returns the partition less the score of the gold path; NaN where a gold tag is none.

    With weights it is the weighted sum of −log p(tag | tag before) = suffix[token − 1] − suffix[token] − gain, where
    the partition precedes token 0.
    """
    loss = tl.zeros((AT_ONCE,), tl.float64)
    for first in range(0, length, AT_ONCE):
        token = first + tl.arange(0, AT_ONCE)
        tag, before, known = _on_path(gold, token, length, tags)
        lost = -_gain(emissions, transitions, start, end, tag, before, token, length, tags)
        if weights is not None:
            on, back = token < length - 1, (token > 0) & (token < length)  # a token follows, a token precedes
            lost += tl.load(suffix + (token - 1) * tags + before, mask=back, other=0.0)
            lost += tl.load(totals + token - 1, mask=back, other=0.0) + tl.where(token == 0, partition, 0.0)
            lost -= tl.load(suffix + token * tags + tag, mask=on, other=0.0)
            lost -= tl.load(totals + token, mask=on, other=0.0)
            lost *= tl.load(weights + tag, mask=token < length, other=0.0)
        loss += tl.where(known, lost, float("nan"))
    value = tl.sum(loss, 0)
    if weights is None:
        value += partition
    return value


@triton.jit
def _on_path(path, token, length, tags):
    """Returns the tags of some tokens and of those before them, in [0, K), and whether they are so by themselves."""
    tag = tl.load(path + token, mask=token < length, other=0)
    before = tl.load(path + token - 1, mask=(token > 0) & (token < length), other=0)
    known = (tag >= 0) & (tag < tags)
    before = tl.minimum(tl.maximum(before, 0), tags - 1)
    return tl.where(known, tag, 0).to(tl.int32), before.to(tl.int32), known


@triton.jit
def _gain(emissions, transitions, start, end, tag, before, token, length, tags):
    """Returns in float64 what some tokens add to the score of a path, 0 past its end."""
    inside = token < length
    gain = tl.load(emissions + token * tags + tag, mask=inside, other=0.0).to(tl.float64)
    gain += tl.load(transitions + before * tags + tag, mask=inside & (token > 0), other=0.0)
    gain += tl.load(start + tag, mask=token == 0, other=0.0)
    gain += tl.load(end + tag, mask=token == length - 1, other=0.0)
    return gain


@triton.jit
def _shifted(scores):
    """Returns scores less their highest, and that, or 0 where all are −inf."""
    shift = _finite_or_zero(tl.max(scores, 0))
    return scores - shift, shift


@triton.jit
def _after(row, suffix):
    """Returns the scores of the tags at a token and of all ways to go on after them, less the highest."""
    return _shifted(_shifted(row)[0] + suffix)[0]


@triton.jit
def _log_sum(scores):
    """Returns the log of the sum of exp(scores) down the columns, −inf where all are."""
    highest = _finite_or_zero(tl.max(scores, 0))
    return tl.log(tl.sum(tl.exp(scores - tl.expand_dims(highest, 0)), 0)) + highest


@triton.jit
def _finite_or_zero(scores):
    return tl.where(scores == float("-inf"), 0.0, scores)  # −inf less itself would be NaN


@triton.jit
def _matrix(rows, lanes, tile: tl.constexpr):
    return tl.load(rows + lanes[:, None] * tile + lanes[None, :])


@triton.jit
def _row(rows, number, lanes, tags):
    return tl.load(rows + number * tags + lanes, mask=lanes < tags, other=float("-inf"))


@triton.jit
def _store_row(rows, number, row, lanes, tags):
    tl.store(rows + number * tags + lanes, row, mask=lanes < tags)
