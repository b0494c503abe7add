"""An LSTM layer's hidden states and gradients on a CPU, twice as fast as torch's own for batches of sentences.

The time steps are computed over packed tokens: the first token of every sentence, then the second of all sentences that
have one, and so on. No time is spent on padding. Two directions run in parallel where there are threads for it.

Shapes in this module: B sentences, T tokens in the longest one, N tokens of all sentences in packed order, D input
width, H hidden size.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tagger.nn.kernels.activations import sigmoid, tanh
from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import PANEL, Floats, Ids, multiply_into, pack
from tagger.nn.kernels.threads import run_both

_Result = TypeVar("_Result")
_ONE = np.float32(1.0)


def compute_states(
    cells: Sequence[nn.RNNBase],
    inputs: Tensor,
    lengths: Tensor,
    *,
    is_reversed: Sequence[bool],
    threads: int = 1,
) -> Tensor:
    """Returns the hidden states of one direction, or of two side by side: (B, T, H or 2H), 0 in padding.

    Args:
        cells: one LSTM per direction, at most two, each with one layer and with biases.
        inputs: (B, T, D) in float32, on a CPU.
        lengths: (B,) tokens per sentence, at least 1.
        is_reversed: whether each cell reads right to left.
        threads: maximum number of threads.
    """
    order = _PackedOrder.from_lengths(lengths.numpy(), inputs.shape[1], is_reversed)
    weights = [weight for cell in cells for weight in cell.all_weights[0]]
    return _LSTM.apply(inputs, order, threads, *weights)  # type: ignore[no-any-return, no-untyped-call]


class _PackedOrder(NamedTuple):
    """The order in which tokens are computed.

    Attributes:
        counts: (T,) sentences that have a token at each step.
        positions: for each direction, (N,) index of each token in the flattened padded batch.
        previous: (N - B,) packed row of the same sentence's previous step, for all rows after the first step.
    """

    counts: Ids
    positions: tuple[Tensor, ...]
    previous: Tensor

    @classmethod
    def from_lengths(cls, lengths: Ids, longest: int, is_reversed: Sequence[bool]) -> "_PackedOrder":
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        present = np.arange(lengths[0])[:, None] < lengths
        counts = present.sum(1)
        step, rank = present.nonzero()
        starts = np.cumsum(counts) - counts
        first = order[rank] * longest
        forward, backward = torch.from_numpy(first + step), torch.from_numpy(first + lengths[rank] - 1 - step)
        previous = (starts[step - 1] + rank)[len(lengths) :]
        positions = tuple(backward if is_backward else forward for is_backward in is_reversed)
        return cls(counts, positions, torch.from_numpy(previous))


class _Saved(NamedTuple):
    """Tensors that one direction's backward pass needs: inputs (N, D), gates (N, 4H), cell states and hidden (N, H)."""

    inputs: Tensor
    gates: Tensor
    cell_states: Tensor
    hidden: Tensor


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, order: _PackedOrder, threads: int, *weights: Tensor) -> Tensor:
        flat = inputs.detach().reshape(-1, inputs.shape[2])
        cells = [[weight.detach() for weight in weights[first : first + 4]] for first in range(0, len(weights), 4)]
        saved = _run_directions(
            [
                partial(_forward, flat, positions, order.counts, cell)
                for positions, cell in zip(order.positions, cells, strict=True)
            ],
            threads,
        )
        hidden_size = weights[1].shape[1]
        out = flat.new_zeros(len(flat), hidden_size * len(saved))
        for number, (positions, direction) in enumerate(zip(order.positions, saved, strict=True)):
            out[positions, number * hidden_size : (number + 1) * hidden_size] = direction.hidden
        context.order, context.threads, context.cells, context.saved = order, threads, cells, saved
        return out.view(*inputs.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        order = context.order
        flat = gradient.reshape(-1, gradient.shape[2])
        gradients = _run_directions(
            [
                partial(_backward, part, positions, order, saved, cell)
                for part, positions, saved, cell in zip(
                    flat.chunk(len(order.positions), 1), order.positions, context.saved, context.cells, strict=True
                )
            ],
            context.threads,
        )
        input_gradient = None
        if context.needs_input_grad[0]:
            input_gradient = flat.new_zeros(len(flat), gradients[0][0].shape[1])
            for positions, direction in zip(order.positions, gradients, strict=True):
                input_gradient.index_add_(0, positions, direction[0])
            input_gradient = input_gradient.view(*gradient.shape[:2], -1)
        return input_gradient, None, None, *(weight for direction in gradients for weight in direction[1:])


def _run_directions(work: Sequence[Callable[[], _Result]], threads: int) -> Sequence[_Result]:
    return [work[0]()] if len(work) == 1 else run_both(*work, threads=threads)


def _forward(flat: Tensor, positions: Tensor, counts: Ids, weights: Sequence[Tensor]) -> _Saved:
    """Runs one direction over inputs (B·T, D); `weights` are (4H, D) and (4H, H), then two biases (4H,)."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    inputs = flat.index_select(0, positions)
    gates = torch.addmm(bias_ih + bias_hh, inputs, weight_ih.T)
    cell_states, hidden = (inputs.new_empty(len(inputs), weight_hh.shape[1]) for _ in range(2))
    _run_steps(gates.numpy(), counts, pack(weight_hh.numpy().T), cell_states.numpy(), hidden.numpy())
    return _Saved(inputs, gates, cell_states, hidden)


def _backward(
    flat: Tensor, positions: Tensor, order: _PackedOrder, saved: _Saved, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of inputs (N, D), both weights and both biases from that of the hidden states (B·T, H)."""
    weight_ih, weight_hh, *_ = weights
    gates = torch.empty_like(saved.gates)
    arrays = (saved.gates.numpy(), saved.cell_states.numpy(), flat.index_select(0, positions).numpy())
    _run_steps_backward(*arrays, order.counts, pack(weight_hh.numpy()), gates.numpy())
    after_first_step, bias = gates[order.counts[0] :], gates.sum(0)
    previous_hidden = saved.hidden.index_select(0, order.previous)
    return gates @ weight_ih, gates.T @ saved.inputs, after_first_step.T @ previous_hidden, bias, bias


@compiled()
def _run_steps(
    gates: Floats, counts: Ids, panels: Floats, cell_states: Floats, hidden: Floats
) -> None:  # pragma: no cover
    """Runs all time steps. `gates` holds input projections on entry and gate activations on return.

    Args:
        gates: (N, 4H).
        counts: (T,) sentences at each step.
        panels: the packed recurrent weights (H, 4H).
        cell_states: (N, H), written.
        hidden: (N, H), written.
    """
    recurrent = np.zeros((counts[0], len(panels) * PANEL), np.float32)
    zeros = np.zeros(cell_states.shape[1], np.float32)
    previous, start = 0, 0
    for step in range(len(counts)):
        if step:
            multiply_into(hidden[previous:], counts[step], panels, recurrent)
        for rank in range(counts[step]):
            row = start + rank
            before = cell_states[previous + rank] if step else zeros
            _step(gates[row], recurrent[rank], before, cell_states[row], hidden[row])
        previous, start = start, start + counts[step]


@elementwise
def _step(
    gates: Floats, recurrent: Floats, previous: Floats, cell_state: Floats, hidden: Floats
) -> None:  # pragma: no cover
    size = len(cell_state)
    input_gate, forget_gate, candidate, output_gate = gates[:size], gates[size:], gates[2 * size :], gates[3 * size :]
    to_input, to_forget = recurrent[:size], recurrent[size:]
    to_candidate, to_output = recurrent[2 * size :], recurrent[3 * size :]
    for unit in range(size):
        input_gate[unit] = sigmoid(input_gate[unit] + to_input[unit])
        forget_gate[unit] = sigmoid(forget_gate[unit] + to_forget[unit])
        candidate[unit] = tanh(candidate[unit] + to_candidate[unit])
        output_gate[unit] = sigmoid(output_gate[unit] + to_output[unit])
        cell_state[unit] = forget_gate[unit] * previous[unit] + input_gate[unit] * candidate[unit]
        hidden[unit] = output_gate[unit] * tanh(cell_state[unit])


@compiled()
def _run_steps_backward(
    gates: Floats, cell_states: Floats, gradient: Floats, counts: Ids, panels: Floats, out: Floats
) -> None:  # pragma: no cover
    """Runs all time steps backward and writes the gradients of the gates' inputs (before activation) to `out`.

    Args:
        gates: (N, 4H) gate activations.
        cell_states: (N, H).
        gradient: (N, H) of the hidden states.
        counts: (T,) sentences at each step.
        panels: the packed recurrent weights (4H, H).
        out: (N, 4H), written.
    """
    hidden_gradient = np.zeros((counts[0], len(panels) * PANEL), np.float32)  # from the next step
    cell_gradient = np.zeros((counts[0], cell_states.shape[1]), np.float32)  # from the next step
    zeros = np.zeros(cell_states.shape[1], np.float32)
    start = len(gates)
    for step in range(len(counts) - 1, -1, -1):
        if step + 1 < len(counts):
            multiply_into(out[start:], counts[step + 1], panels, hidden_gradient)
        start -= counts[step]
        previous = start - counts[step - 1] if step else 0
        for rank in range(counts[step]):
            row = start + rank
            states = cell_states[previous + rank] if step else zeros, cell_states[row]
            hidden_gradients = gradient[row], hidden_gradient[rank]
            _step_backward(gates[row], states, hidden_gradients, cell_gradient[rank], out[row])


@elementwise
def _step_backward(
    gates: Floats,
    states: tuple[Floats, Floats],
    hidden_gradients: tuple[Floats, Floats],
    cell_gradient: Floats,
    out: Floats,
) -> None:  # pragma: no cover
    """Runs one token's step backward; `states` are the previous and the current cell state."""
    previous, cell_state = states
    size = len(cell_state)
    input_gate, forget_gate, candidate, output_gate = gates[:size], gates[size:], gates[2 * size :], gates[3 * size :]
    to_input, to_forget, to_candidate, to_output = out[:size], out[size:], out[2 * size :], out[3 * size :]
    for unit in range(size):
        to_hidden = hidden_gradients[0][unit] + hidden_gradients[1][unit]
        gate, squashed = output_gate[unit], tanh(cell_state[unit])
        to_cell = cell_gradient[unit] + to_hidden * gate * (_ONE - squashed * squashed)
        to_output[unit] = to_hidden * squashed * gate * (_ONE - gate)
        to_input[unit] = to_cell * candidate[unit] * input_gate[unit] * (_ONE - input_gate[unit])
        to_forget[unit] = to_cell * previous[unit] * forget_gate[unit] * (_ONE - forget_gate[unit])
        to_candidate[unit] = to_cell * input_gate[unit] * (_ONE - candidate[unit] * candidate[unit])
        cell_gradient[unit] = to_cell * forget_gate[unit]
