"""An LSTM layer's states and gradients on a CPU, where torch's own take twice as long for batches of sentences.

Tokens are computed step by step: the first of every sentence, then the second of all that have one, and so on, so that
nothing is spent on padding. Directions are computed at once where there are threads for that.

Shapes in this module: B sentences, T tokens in the longest one, N tokens of all sentences in the order of the steps,
D input width, H encoder width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tagger.nn.kernels.activations import sigmoid, tanh
from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import PANEL, Floats, Ids, multiply_into, packed
from tagger.nn.kernels.threads import both

_Result = TypeVar("_Result")
_ONE = np.float32(1.0)


def states(
    cells: Sequence[nn.RNNBase],
    inputs: Tensor,
    lengths: Tensor,
    *,
    is_reversed: Sequence[bool],
    threads: int = 1,
) -> Tensor:
    """Returns the states of one direction, or of two side by side, (B, T, H or 2H), 0 in padding.

    Args:
        cells: an LSTM for each direction, at most two: one layer each, with biases.
        inputs: (B, T, D) in float32, on a CPU.
        lengths: (B,) tokens in each sentence, at least 1.
        is_reversed: whether each of them reads sentences from their ends.
        threads: how many may be busy at once.
    """
    steps = _Steps.of(lengths.numpy(), inputs.shape[1], is_reversed)
    weights = [weight for cell in cells for weight in cell.all_weights[0]]
    return _States.apply(inputs, steps, threads, *weights)  # type: ignore[no-any-return, no-untyped-call]


class _Steps(NamedTuple):
    """The order in which tokens are computed.

    Attributes:
        counts: (T,) how many sentences have a token at each step.
        places: for each direction, (N,) where each token stands among all with padding.
        before: (N - B,) the row of the same sentence's step before, of all rows but those of the first step.
    """

    counts: Ids
    places: tuple[Tensor, ...]
    before: Tensor

    @classmethod
    def of(cls, lengths: Ids, longest: int, is_reversed: Sequence[bool]) -> "_Steps":
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        present = np.arange(lengths[0])[:, None] < lengths
        counts = present.sum(1)
        step, rank = present.nonzero()
        starts = np.cumsum(counts) - counts
        first = order[rank] * longest
        forward, backward = torch.from_numpy(first + step), torch.from_numpy(first + lengths[rank] - 1 - step)
        before = (starts[step - 1] + rank)[len(lengths) :]
        places = tuple(backward if round_ else forward for round_ in is_reversed)
        return cls(counts, places, torch.from_numpy(before))


class _Kept(NamedTuple):
    """What one direction's backward pass needs: inputs (N, D), gates (N, 4H), memory and states (N, H)."""

    inputs: Tensor
    gates: Tensor
    memory: Tensor
    states: Tensor


class _States(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, steps: _Steps, threads: int, *weights: Tensor) -> Tensor:
        flat = inputs.detach().reshape(-1, inputs.shape[2])
        parts = [[weight.detach() for weight in weights[first : first + 4]] for first in range(0, len(weights), 4)]
        work = [
            partial(_forward, flat, steps.counts, place, *part) for place, part in zip(steps.places, parts, strict=True)
        ]
        kept = _each(work, threads)
        width = weights[1].shape[1]
        out = flat.new_zeros(len(flat), width * len(kept))
        for number, (place, part) in enumerate(zip(steps.places, kept, strict=True)):
            out[place, number * width : (number + 1) * width] = part.states
        context.steps, context.threads, context.parts, context.kept = steps, threads, parts, kept
        return out.view(*inputs.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        steps = context.steps
        flat = gradient.reshape(-1, gradient.shape[2])
        width = flat.shape[1] // len(steps.places)
        work = [
            partial(_backward, flat[:, number * width : (number + 1) * width], place, steps, kept, *part[:2])
            for number, (place, kept, part) in enumerate(zip(steps.places, context.kept, context.parts, strict=True))
        ]
        found = _each(work, context.threads)
        of_inputs = None
        if context.needs_input_grad[0]:
            of_inputs = flat.new_zeros(len(flat), found[0][0].shape[1])
            for place, part in zip(steps.places, found, strict=True):
                of_inputs.index_add_(0, place, part[0])
            of_inputs = of_inputs.view(*gradient.shape[:2], -1)
        return of_inputs, None, None, *(weight for part in found for weight in part[1:])


def _each(work: Sequence[Callable[[], _Result]], threads: int) -> Sequence[_Result]:
    """Returns the results of the work of one direction or two."""
    return [work[0]()] if len(work) == 1 else both(*work, threads=threads)


def _forward(
    flat: Tensor, counts: Ids, place: Tensor, inward: Tensor, own: Tensor, bias: Tensor, more: Tensor
) -> _Kept:
    """Computes one direction of inputs (B·T, D) with weights (4H, D) and (4H, H) and both biases (4H,)."""
    inputs = flat.index_select(0, place)
    gates = torch.addmm(bias + more, inputs, inward.T)
    memory, shown = (inputs.new_empty(len(inputs), own.shape[1]) for _ in range(2))
    _run(gates.numpy(), counts, packed(own.numpy().T), memory.numpy(), shown.numpy())
    return _Kept(inputs, gates, memory, shown)


def _backward(
    flat: Tensor, place: Tensor, steps: _Steps, kept: _Kept, inward: Tensor, own: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of inputs (N, D), of both weights and of either bias from that of the states (B·T, H)."""
    gates = torch.empty_like(kept.gates)
    given = (kept.gates.numpy(), kept.memory.numpy(), flat.index_select(0, place).numpy())
    _run_back(*given, steps.counts, packed(own.numpy()), gates.numpy())
    later, bias = gates[steps.counts[0] :], gates.sum(0)
    return gates @ inward, gates.T @ kept.inputs, later.T @ kept.states.index_select(0, steps.before), bias, bias


@compiled()
def _run(gates: Floats, counts: Ids, panels: Floats, memory: Floats, shown: Floats) -> None:  # pragma: no cover
    """Takes all steps: gates (N, 4H) are what the inputs give and become what they let through.

    Args:
        gates: of all tokens.
        counts: (T,) sentences at each step.
        panels: the packed matrix (H, 4H) of the state.
        memory: (N, H) is written.
        shown: (N, H) the states, are written.
    """
    given = np.zeros((counts[0], len(panels) * PANEL), np.float32)
    nothing = np.zeros(memory.shape[1], np.float32)
    before, start = 0, 0
    for step in range(len(counts)):
        if step:
            multiply_into(shown[before:], counts[step], panels, given)
        for rank in range(counts[step]):
            row = start + rank
            _cell(gates[row], given[rank], memory[before + rank] if step else nothing, memory[row], shown[row])
        before, start = start, start + counts[step]


@unit_wise
def _cell(gates: Floats, given: Floats, before: Floats, memory: Floats, shown: Floats) -> None:  # pragma: no cover
    width = len(memory)
    enter, keep, new, leave = gates[:width], gates[width:], gates[2 * width :], gates[3 * width :]
    to_enter, to_keep, to_new, to_leave = given[:width], given[width:], given[2 * width :], given[3 * width :]
    for unit in range(width):
        enter[unit] = sigmoid(enter[unit] + to_enter[unit])
        keep[unit] = sigmoid(keep[unit] + to_keep[unit])
        new[unit] = tanh(new[unit] + to_new[unit])
        leave[unit] = sigmoid(leave[unit] + to_leave[unit])
        memory[unit] = keep[unit] * before[unit] + enter[unit] * new[unit]
        shown[unit] = leave[unit] * tanh(memory[unit])


@compiled()
def _run_back(
    gates: Floats, memory: Floats, gradient: Floats, counts: Ids, panels: Floats, out: Floats
) -> None:  # pragma: no cover
    """Takes all steps back: writes the gradients of what reached the gates into `out` (N, 4H).

    Args:
        gates: (N, 4H) what they let through.
        memory: (N, H).
        gradient: (N, H) of the states.
        counts: (T,) sentences at each step.
        panels: the packed matrix (4H, H) of the state.
        out: is written.
    """
    later = np.zeros((counts[0], len(panels) * PANEL), np.float32)  # what the step after gives to the states
    kept = np.zeros((counts[0], memory.shape[1]), np.float32)  # likewise to the memory
    nothing = np.zeros(memory.shape[1], np.float32)
    start = len(gates)
    for step in range(len(counts) - 1, -1, -1):
        if step + 1 < len(counts):
            multiply_into(out[start:], counts[step + 1], panels, later)
        start -= counts[step]
        before = start - counts[step - 1] if step else 0
        for rank in range(counts[step]):
            row = start + rank
            held = memory[before + rank] if step else nothing
            _cell_back(gates[row], held, memory[row], gradient[row], later[rank], kept[rank], out[row])


@unit_wise
def _cell_back(
    gates: Floats, before: Floats, memory: Floats, gradient: Floats, later: Floats, kept: Floats, out: Floats
) -> None:  # pragma: no cover
    width = len(memory)
    enter, keep, new, leave = gates[:width], gates[width:], gates[2 * width :], gates[3 * width :]
    of_enter, of_keep, of_new, of_leave = out[:width], out[width:], out[2 * width :], out[3 * width :]
    for unit in range(width):
        of_state = gradient[unit] + later[unit]
        open_, shown = leave[unit], tanh(memory[unit])
        of_memory = kept[unit] + of_state * open_ * (_ONE - shown * shown)
        of_leave[unit] = of_state * shown * open_ * (_ONE - open_)
        of_enter[unit] = of_memory * new[unit] * enter[unit] * (_ONE - enter[unit])
        of_keep[unit] = of_memory * before[unit] * keep[unit] * (_ONE - keep[unit])
        of_new[unit] = of_memory * enter[unit] * (_ONE - new[unit] * new[unit])
        kept[unit] = of_memory * keep[unit]
