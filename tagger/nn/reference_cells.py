"""The recurrent cells step by step, as their formulas say, with all gates and states accessible.

For study and diagnosis: an encoder layer computes the same from the same weights with fused kernels, many times faster.

Shapes in this module: B sentences, T tokens in the longest one, D input width, H hidden size, G columns of a cell's
gates and candidate: H for an RNN, 4H for an LSTM, 3H for an LSTM1997 or a GRU.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagger.nn.encoder import LSTM1997, RecurrentLayer, reorder_tokens, reversal_index


class Step(NamedTuple):
    """A cell after one token; each tensor is (B, H).

    Attributes:
        hidden: the output, which the next step reads.
        cell_state: an LSTM's cell state; the hidden state for other cells.
        candidate: the candidate for the cell state.
        gates: gate activations in (0, 1), by name.
    """

    hidden: Tensor
    cell_state: Tensor
    candidate: Tensor
    gates: dict[str, Tensor]


class Trace(NamedTuple):
    """The computation of one direction, in the order of the sentence; padding holds arbitrary values.

    Attributes:
        projections: (B, T, G) input projections, biases included.
        hidden: (B, T, H).
        cell_states: (B, T, H).
        candidates: (B, T, H).
        gates: (B, T, H) each, by name.
    """

    projections: Tensor
    hidden: Tensor
    cell_states: Tensor
    candidates: Tensor
    gates: dict[str, Tensor]


def _rnn(projection: Tensor, recurrent: Tensor, _: Step) -> Step:
    """An RNN (Elman, 1990); `projection` of the input and `recurrent` of the previous hidden state are (B, H)."""
    hidden = torch.tanh(projection + recurrent)
    return Step(hidden, hidden, hidden, {})


def _lstm(projection: Tensor, recurrent: Tensor, previous: Step) -> Step:
    """An LSTM with a forget gate (Gers et al., 2000); projections are (B, 4H)."""
    to_input, to_forget, to_candidate, to_output = (projection + recurrent).chunk(4, 1)
    gates = {"input": to_input.sigmoid(), "forget": to_forget.sigmoid(), "output": to_output.sigmoid()}
    candidate = to_candidate.tanh()
    cell_state = gates["forget"] * previous.cell_state + gates["input"] * candidate
    return Step(gates["output"] * cell_state.tanh(), cell_state, candidate, gates)


def _lstm1997(projection: Tensor, recurrent: Tensor, previous: Step) -> Step:
    """An LSTM without a forget gate (Hochreiter and Schmidhuber, 1997); projections are (B, 3H)."""
    to_input, to_candidate, to_output = (projection + recurrent).chunk(3, 1)
    gates = {"input": to_input.sigmoid(), "output": to_output.sigmoid()}
    candidate = to_candidate.tanh()
    cell_state = previous.cell_state + gates["input"] * candidate
    return Step(gates["output"] * cell_state.tanh(), cell_state, candidate, gates)


def _gru(projection: Tensor, recurrent: Tensor, previous: Step) -> Step:
    """A GRU (Cho et al., 2014) with cuDNN's form of the reset gate; projections are (B, 3H)."""
    to_reset, to_update, to_candidate = projection.chunk(3, 1)
    recurrent_reset, recurrent_update, recurrent_candidate = recurrent.chunk(3, 1)
    reset, update = (to_reset + recurrent_reset).sigmoid(), (to_update + recurrent_update).sigmoid()
    candidate = torch.tanh(to_candidate + reset * recurrent_candidate)
    hidden = (1 - update) * candidate + update * previous.cell_state
    return Step(hidden, hidden, candidate, {"reset": reset, "update": update})


_FORMULAS: dict[type[nn.RNNBase], Callable[[Tensor, Tensor, Step], Step]] = {
    nn.RNN: _rnn,
    nn.LSTM: _lstm,
    LSTM1997: _lstm1997,
    nn.GRU: _gru,
}


def trace(layer: RecurrentLayer, inputs: Tensor, lengths: Tensor, *, cell_state_only: bool = False) -> list[Trace]:
    """Returns the computation of each direction of a layer, forward first; gradients reach the layer's weights.

    Args:
        layer: the layer.
        inputs: (B, T, D).
        lengths: (B,) tokens per sentence, at least 1.
        cell_state_only: let gradients flow from step to step through the cell state alone, and not through the hidden
            state that gates and candidates read.

    Raises:
        ValueError: a length is not in [1, T].

    >>> layer = RecurrentLayer(5, 4, cell="gru")  # of a loaded model: tagger.model.network.encoder.layers[0]
    >>> forward, backward = trace(layer, torch.zeros(2, 3, 5), torch.tensor([3, 2]))
    >>> sorted(forward.gates), tuple(forward.gates["reset"].shape)
    (['reset', 'update'], (2, 3, 4))
    """
    if lengths.min() < 1 or lengths.max() > inputs.shape[1]:
        raise ValueError(f"lengths must be from 1 to {inputs.shape[1]}, got {lengths.tolist()}")
    index = reversal_index(lengths, inputs.shape[1])
    traces = []
    for cell, is_reversed in zip(layer.cells, layer.is_reversed, strict=True):
        ordered = reorder_tokens(inputs, index) if is_reversed else inputs
        direction = _trace_cell(cell, ordered, cell_state_only=cell_state_only)
        traces.append(_reverse(direction, index) if is_reversed else direction)
    return traces


def _reverse(direction: Trace, index: Tensor) -> Trace:
    projections, hidden, cell_states, candidates = (reorder_tokens(part, index) for part in direction[:4])
    gates = {name: reorder_tokens(gate, index) for name, gate in direction.gates.items()}
    return Trace(projections, hidden, cell_states, candidates, gates)


def _trace_cell(cell: nn.RNNBase, inputs: Tensor, *, cell_state_only: bool) -> Trace:
    weight_ih, weight_hh, bias_ih, bias_hh = _weights(cell)
    projections = inputs @ weight_ih.T + bias_ih
    zeros = inputs.new_zeros(len(inputs), cell.hidden_size)
    step, steps = Step(zeros, zeros, zeros, {}), []
    for position in range(inputs.shape[1]):
        hidden = step.hidden.detach() if cell_state_only else step.hidden
        step = _FORMULAS[type(cell)](projections[:, position], hidden @ weight_hh.T + bias_hh, step)
        steps.append(step)
    return Trace(
        projections,
        hidden=torch.stack([step.hidden for step in steps], 1),
        cell_states=torch.stack([step.cell_state for step in steps], 1),
        candidates=torch.stack([step.candidate for step in steps], 1),
        gates={name: torch.stack([step.gates[name] for step in steps], 1) for name in step.gates},
    )


def _weights(cell: nn.RNNBase) -> Sequence[Tensor]:
    """Returns weight_ih (G, D), weight_hh (G, H), bias_ih and bias_hh (G,), without an LSTM1997's forget gate."""
    weights = cell.all_weights[0]
    if not isinstance(cell, LSTM1997):
        return weights
    size = cell.hidden_size
    return [torch.cat([weight[:size], weight[2 * size :]]) for weight in weights]
