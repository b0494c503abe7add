"""The recurrence of an LSTM, GRU or RNN over a batch of sentences, given precomputed input projections.

Shapes in this module: N tokens of all sentences concatenated, B sentences, R rows of a table, H hidden size, G columns
of the gates (4H, 3H or H) padded to whole panels.
"""

from typing import NamedTuple

import numpy as np
from torch import nn

from tagger.nn.encoder import LSTM1997
from tagger.nn.kernels.activations import sigmoid, tanh
from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import PANEL, Floats, Ids, multiply_into

LSTM, GRU, RNN = range(3)
CELLS: dict[type[nn.RNNBase], int] = {nn.LSTM: LSTM, LSTM1997: LSTM, nn.GRU: GRU, nn.RNN: RNN}


class Projections(NamedTuple):
    """Input projections, biases included, as rows of a table.

    Attributes:
        table: (R, G).
        rows: (N,) row of each token.
    """

    table: Floats
    rows: Ids


class Sentences(NamedTuple):
    """Where the sentences of a batch are, the longest sentence first.

    Attributes:
        starts: (B,) index of each sentence's first token.
        lengths: (B,) tokens per sentence, at least 1.
    """

    starts: Ids
    lengths: Ids


class Recurrence(NamedTuple):
    """The recurrent part of one direction.

    Attributes:
        cell: LSTM, GRU or RNN.
        panels: the packed recurrent weights (H, G).
        bias: (H,) recurrent bias of a GRU's candidate; ignored by other cells.
        is_reversed: whether the direction reads right to left.
    """

    cell: int
    panels: Floats
    bias: Floats
    is_reversed: bool


@elementwise
def _lstm(
    inputs: Floats, recurrent: Floats, hidden: Floats, cell_state: Floats, out: Floats
) -> None:  # pragma: no cover
    """Runs one time step; updates `hidden` and `cell_state` (H,), and copies the hidden state to `out`."""
    size = len(hidden)
    input_gate, forget_gate, candidate = recurrent[:size], recurrent[size:], recurrent[2 * size :]
    output_gate = recurrent[3 * size :]
    to_input, to_forget, to_candidate, to_output = inputs[:size], inputs[size:], inputs[2 * size :], inputs[3 * size :]
    for unit in range(size):
        added = sigmoid(input_gate[unit] + to_input[unit]) * tanh(candidate[unit] + to_candidate[unit])
        updated = sigmoid(forget_gate[unit] + to_forget[unit]) * cell_state[unit] + added
        state = sigmoid(output_gate[unit] + to_output[unit]) * tanh(updated)
        cell_state[unit] = updated
        hidden[unit] = state
        out[unit] = state


@elementwise
def _gru(inputs: Floats, recurrent: Floats, hidden: Floats, bias: Floats, out: Floats) -> None:  # pragma: no cover
    size = len(hidden)
    reset_gate, update_gate, candidate = recurrent[:size], recurrent[size:], recurrent[2 * size :]
    to_reset, to_update, to_candidate = inputs[:size], inputs[size:], inputs[2 * size :]
    for unit in range(size):
        update = sigmoid(update_gate[unit] + to_update[unit])
        reset = sigmoid(reset_gate[unit] + to_reset[unit])
        new = tanh(to_candidate[unit] + reset * (candidate[unit] + bias[unit]))
        state = new + update * (hidden[unit] - new)
        hidden[unit] = state
        out[unit] = state


@elementwise
def _rnn(inputs: Floats, recurrent: Floats, hidden: Floats, out: Floats) -> None:  # pragma: no cover
    for unit in range(len(hidden)):
        state = tanh(inputs[unit] + recurrent[unit])
        hidden[unit] = state
        out[unit] = state


@elementwise
def _add(first: Floats, second: Floats, out: Floats) -> None:  # pragma: no cover
    for index in range(len(out)):
        out[index] = first[index] + second[index]


@compiled()
def run(
    recurrence: Recurrence,
    words: Projections,
    contexts: Projections,
    sentences: Sentences,
    out: Floats,
    column: int,
) -> None:  # pragma: no cover
    """Writes the hidden states of one direction to H columns of `out`.

    Args:
        recurrence: the direction's recurrent part.
        words: projections of the words or of the layer below.
        contexts: projections that are added to those of `words`; an empty table for none.
        sentences: the batch.
        out: (N, at least column + H), written.
        column: first of the direction's columns in `out`.
    """
    cell, panels, bias, is_reversed = recurrence
    table, rows = words
    context_table, context_rows = contexts
    starts, lengths = sentences
    size = panels.shape[1]
    hidden = np.zeros((len(lengths), size), np.float32)
    cell_states = np.zeros((len(lengths) if cell == LSTM else 0, size), np.float32)
    recurrent = np.zeros((len(lengths), len(panels) * PANEL), np.float32)
    both = np.empty(table.shape[1], np.float32)
    active = len(lengths)
    for step in range(lengths[0]):
        while lengths[active - 1] <= step:
            active -= 1
        if step:
            multiply_into(hidden, active, panels, recurrent)
        for sentence in range(active):
            token = starts[sentence] + (lengths[sentence] - 1 - step if is_reversed else step)
            state = out[token][column : column + size]
            inputs = table[rows[token]]
            if len(context_table):
                _add(inputs, context_table[context_rows[token]], both)
                inputs = both
            if cell == LSTM:
                _lstm(inputs, recurrent[sentence], hidden[sentence], cell_states[sentence], state)
            elif cell == GRU:
                _gru(inputs, recurrent[sentence], hidden[sentence], bias, state)
            else:
                _rnn(inputs, recurrent[sentence], hidden[sentence], state)
