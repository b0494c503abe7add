"""The recurrence of an LSTM, GRU or RNN over a batch, of which only the product with the state is computed here.

Shapes in this module: N tokens of all sentences one after another, B sentences, H encoder width, G numbers that a token
gives to the cell's gates (4H, 3H or H).
"""

import numpy as np
from torch import nn

from tagger.nn.compiling import compiled
from tagger.nn.inference.products import PANEL, Floats, Ids, multiply_into

LSTM, GRU, RNN = range(3)
CELLS: dict[type[nn.RNNBase], int] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}

# x P(x²) / Q(x²) is tanh(x) within 4e-7 for |x| <= 8, beyond which both are 1 in float32. Fitted in float64 by least
# squares whose weights rise where the error is largest (Lawson, 1961).
_EDGE = np.float32(8.0)
_P0, _P1, _P2 = np.float32(0.999999981), np.float32(0.129792222), np.float32(2.98586065e-3)
_P3, _P4, _P5 = np.float32(9.87864849e-6), np.float32(-1.47041854e-8), np.float32(2.35085162e-11)
_Q1, _Q2, _Q3 = np.float32(0.463125382), np.float32(0.0240279193), np.float32(2.37203058e-4)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)


# Without a check for division by 0, and with a slice for each gate, LLVM computes eight units at a time.
_unit_wise = compiled(fastmath={"contract"}, error_model="numpy")


@_unit_wise
def _tanh(x: np.float32) -> np.float32:  # pragma: no cover
    x = _EDGE if x > _EDGE else x  # written so, what is not a number stays so
    x = -_EDGE if x < -_EDGE else x
    y = x * x
    above = x * (_P0 + y * (_P1 + y * (_P2 + y * (_P3 + y * (_P4 + y * _P5)))))
    below = _ONE + y * (_Q1 + y * (_Q2 + y * _Q3))
    return above / below


@_unit_wise
def _sigmoid(x: np.float32) -> np.float32:  # pragma: no cover
    return _HALF + _HALF * _tanh(_HALF * x)  # type: ignore[no-any-return]


@_unit_wise
def _lstm(given: Floats, gates: Floats, state: Floats, memory: Floats, out: Floats) -> None:  # pragma: no cover
    """Takes one token's step: state and memory (H,) change, and the state is written to `out` too."""
    width = len(state)
    enter, keep, new, leave = gates[:width], gates[width:], gates[2 * width :], gates[3 * width :]
    to_enter, to_keep, to_new, to_leave = given[:width], given[width:], given[2 * width :], given[3 * width :]
    for unit in range(width):
        added = _sigmoid(enter[unit] + to_enter[unit]) * _tanh(new[unit] + to_new[unit])
        held = _sigmoid(keep[unit] + to_keep[unit]) * memory[unit] + added
        shown = _sigmoid(leave[unit] + to_leave[unit]) * _tanh(held)
        memory[unit] = held
        state[unit] = shown
        out[unit] = shown


@_unit_wise
def _gru(given: Floats, gates: Floats, state: Floats, bias: Floats, out: Floats) -> None:  # pragma: no cover
    width = len(state)
    reset, keep, new = gates[:width], gates[width:], gates[2 * width :]
    to_reset, to_keep, to_new = given[:width], given[width:], given[2 * width :]
    for unit in range(width):
        share = _sigmoid(keep[unit] + to_keep[unit])
        fresh = _tanh(to_new[unit] + _sigmoid(reset[unit] + to_reset[unit]) * (new[unit] + bias[unit]))
        shown = fresh + share * (state[unit] - fresh)
        state[unit] = shown
        out[unit] = shown


@_unit_wise
def _rnn(given: Floats, gates: Floats, state: Floats, out: Floats) -> None:  # pragma: no cover
    for unit in range(len(state)):
        shown = _tanh(given[unit] + gates[unit])
        state[unit] = shown
        out[unit] = shown


@compiled()
def run(
    cell: int,
    given: Floats,
    rows: Ids,
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
    active = len(lengths)
    for step in range(lengths[0]):
        while lengths[active - 1] <= step:
            active -= 1
        if step:
            multiply_into(state, active, panels, gates)
        for sentence in range(active):
            token = starts[sentence] + (lengths[sentence] - 1 - step if backward else step)
            shown = out[token][column : column + width]
            if cell == LSTM:
                _lstm(given[rows[token]], gates[sentence], state[sentence], memory[sentence], shown)
            elif cell == GRU:
                _gru(given[rows[token]], gates[sentence], state[sentence], bias, shown)
            else:
                _rnn(given[rows[token]], gates[sentence], state[sentence], shown)
