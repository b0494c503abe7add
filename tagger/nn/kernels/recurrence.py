"""The recurrence of an LSTM, GRU or RNN over a batch, of which only the product with the state is computed here.

Shapes in this module: N tokens of all sentences one after another, B sentences, H encoder width, G numbers that a token
gives to the cell's gates (4H, 3H or H), filled up to whole panels.
"""

import numpy as np
from torch import nn

from tagger.nn.encoder import LSTM1997
from tagger.nn.kernels.activations import sigmoid, tanh
from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import PANEL, Floats, Ids, multiply_into

LSTM, GRU, RNN = range(3)
CELLS: dict[type[nn.RNNBase], int] = {nn.LSTM: LSTM, LSTM1997: LSTM, nn.GRU: GRU, nn.RNN: RNN}


@unit_wise
def _lstm(given: Floats, gates: Floats, state: Floats, memory: Floats, out: Floats) -> None:  # pragma: no cover
    """Takes one token's step: state and memory (H,) change, and the state is written to `out` too."""
    width = len(state)
    enter, keep, new, leave = gates[:width], gates[width:], gates[2 * width :], gates[3 * width :]
    to_enter, to_keep, to_new, to_leave = given[:width], given[width:], given[2 * width :], given[3 * width :]
    for unit in range(width):
        added = sigmoid(enter[unit] + to_enter[unit]) * tanh(new[unit] + to_new[unit])
        held = sigmoid(keep[unit] + to_keep[unit]) * memory[unit] + added
        shown = sigmoid(leave[unit] + to_leave[unit]) * tanh(held)
        memory[unit] = held
        state[unit] = shown
        out[unit] = shown


@unit_wise
def _gru(given: Floats, gates: Floats, state: Floats, bias: Floats, out: Floats) -> None:  # pragma: no cover
    width = len(state)
    reset, keep, new = gates[:width], gates[width:], gates[2 * width :]
    to_reset, to_keep, to_new = given[:width], given[width:], given[2 * width :]
    for unit in range(width):
        share = sigmoid(keep[unit] + to_keep[unit])
        fresh = tanh(to_new[unit] + sigmoid(reset[unit] + to_reset[unit]) * (new[unit] + bias[unit]))
        shown = fresh + share * (state[unit] - fresh)
        state[unit] = shown
        out[unit] = shown


@unit_wise
def _sum(first: Floats, second: Floats, out: Floats) -> None:  # pragma: no cover
    for number in range(len(out)):
        out[number] = first[number] + second[number]


@unit_wise
def _rnn(given: Floats, gates: Floats, state: Floats, out: Floats) -> None:  # pragma: no cover
    for unit in range(len(state)):
        shown = tanh(given[unit] + gates[unit])
        state[unit] = shown
        out[unit] = shown


@compiled()
def run(
    cell: int,
    given: Floats,
    rows: Ids,
    more: Floats,
    which: Ids,
    starts: Ids,
    lengths: Ids,
    backward: bool,
    panels: Floats,
    bias: Floats,
    out: Floats,
    column: int,
) -> None:  # pragma: no cover
    """Writes the states (N, H) of one direction into H columns of `out`, from `column`.

    Args:
        cell: LSTM, GRU or RNN.
        given: (R, G) what the words, or the layer below, give to the gates, biases included.
        rows: (N,) which row each token takes.
        more: (S, G) what is to be added to it, if anything.
        which: (N,) which row of that each token takes.
        starts: (B,) where each sentence's tokens begin.
        lengths: (B,) tokens in each, the longest first.
        backward: from each sentence's end.
        panels: the packed matrix (H, G) of the state.
        bias: (H,) of a GRU's candidate, within the reset gate's reach.
        out: (N, W) with W at least column + H.
        column: where the direction's states begin.
    """
    width = panels.shape[1]
    state = np.zeros((len(lengths), width), np.float32)
    memory = np.zeros((len(lengths) if cell == LSTM else 0, width), np.float32)
    gates = np.zeros((len(lengths), len(panels) * PANEL), np.float32)
    both = np.empty(given.shape[1], np.float32)
    active = len(lengths)
    for step in range(lengths[0]):
        while lengths[active - 1] <= step:
            active -= 1
        if step:
            multiply_into(state, active, panels, gates)
        for sentence in range(active):
            token = starts[sentence] + (lengths[sentence] - 1 - step if backward else step)
            shown = out[token][column : column + width]
            own = given[rows[token]]
            if len(more):
                _sum(own, more[which[token]], both)
                own = both
            if cell == LSTM:
                _lstm(own, gates[sentence], state[sentence], memory[sentence], shown)
            elif cell == GRU:
                _gru(own, gates[sentence], state[sentence], bias, shown)
            else:
                _rnn(own, gates[sentence], state[sentence], shown)
