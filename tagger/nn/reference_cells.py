"""The cells step by step, as their formulas say, with gates and states open to inspection.

They are for study and diagnosis. What they compute is what an encoder's layer computes with the same weights, by its
fused modules and kernels, which are many times faster.

Shapes in this module: B sentences, T tokens in the longest one, D input width, H encoder width, G numbers that
go to the gates and the candidate of a cell: H of an RNN, 4H of an LSTM, 3H of the LSTM of 1997 and of a GRU.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagger.nn.encoder import LSTM1997, RecurrentLayer, reversal_index, turn


class Step(NamedTuple):
    """A cell after a token; each tensor (B, H).

    Attributes:
        state: what the cell puts out and reads at the next token.
        memory: what is carried on from token to token, an LSTM's cell state; of other cells the state itself.
        candidate: what could be taken into the memory.
        gates: in (0, 1), by name.
    """

    state: Tensor
    memory: Tensor
    candidate: Tensor
    gates: dict[str, Tensor]


class Trace(NamedTuple):
    """What a cell did in one direction, all in the order of the sentence; in padding anything.

    Attributes:
        given: (B, T, G) what the inputs give to the gates and the candidate.
        states: (B, T, H).
        memory: (B, T, H).
        candidates: (B, T, H).
        gates: each (B, T, H), by name.
    """

    given: Tensor
    states: Tensor
    memory: Tensor
    candidates: Tensor
    gates: dict[str, Tensor]


def rnn(given: Tensor, own: Tensor, before: Step) -> Step:
    """Returns the next step of an RNN (Elman, 1990).

    Args:
        given: (B, H) what the token gives.
        own: (B, H) what the state before gives.
        before: the step before.
    """
    state = torch.tanh(given + own)
    return Step(state, state, state, {})


def lstm(given: Tensor, own: Tensor, before: Step) -> Step:
    """Returns the next step of an LSTM with a forget gate (Gers et al., 2000); given and own are (B, 4H)."""
    to_input, to_forget, to_candidate, to_output = (given + own).chunk(4, 1)
    gates = {"input": to_input.sigmoid(), "forget": to_forget.sigmoid(), "output": to_output.sigmoid()}
    candidate = to_candidate.tanh()
    memory = gates["forget"] * before.memory + gates["input"] * candidate
    return Step(gates["output"] * memory.tanh(), memory, candidate, gates)


def lstm1997(given: Tensor, own: Tensor, before: Step) -> Step:
    """Returns the next step of an LSTM without a forget gate (Hochreiter and Schmidhuber, 1997); given, own (B, 3H)."""
    to_input, to_candidate, to_output = (given + own).chunk(3, 1)
    gates = {"input": to_input.sigmoid(), "output": to_output.sigmoid()}
    candidate = to_candidate.tanh()
    memory = before.memory + gates["input"] * candidate
    return Step(gates["output"] * memory.tanh(), memory, candidate, gates)


def gru(given: Tensor, own: Tensor, before: Step) -> Step:
    """Returns the next step of a GRU (Cho et al., 2014), its reset gate as cuDNN has it; given and own are (B, 3H)."""
    to_reset, to_update, to_candidate = given.chunk(3, 1)
    own_reset, own_update, own_candidate = own.chunk(3, 1)
    reset, update = (to_reset + own_reset).sigmoid(), (to_update + own_update).sigmoid()
    candidate = torch.tanh(to_candidate + reset * own_candidate)
    state = (1 - update) * candidate + update * before.memory
    return Step(state, state, candidate, {"reset": reset, "update": update})


_FORMULAS: dict[type[nn.RNNBase], Callable[[Tensor, Tensor, Step], Step]] = {
    nn.RNN: rnn,
    nn.LSTM: lstm,
    LSTM1997: lstm1997,
    nn.GRU: gru,
}


def trace(layer: RecurrentLayer, inputs: Tensor, lengths: Tensor, *, memory_only: bool = False) -> list[Trace]:
    """Returns what each direction of a layer does, the forward one first; gradients reach the layer's own weights.

    Args:
        layer: whose weights are taken.
        inputs: (B, T, D).
        lengths: (B,) tokens per sentence, at least 1.
        memory_only: let gradients flow back from token to token through the memory only, by its additions and
            products, as if each gate and candidate were given and did not depend on the state before.

    Raises:
        ValueError: a length is not in [1, T].

    >>> layer = RecurrentLayer(5, 4, cell="gru")  # of a loaded model: tagger.model.network.encoder.layers[0]
    >>> forward, backward = trace(layer, torch.zeros(2, 3, 5), torch.tensor([3, 2]))
    >>> sorted(forward.gates), tuple(forward.gates["reset"].shape)
    (['reset', 'update'], (2, 3, 4))
    """
    if lengths.min() < 1 or lengths.max() > inputs.shape[1]:
        raise ValueError(f"lengths must be from 1 to {inputs.shape[1]}, got {lengths.tolist()}")
    places = reversal_index(lengths, inputs.shape[1])
    found = []
    for cell, is_reversed in zip(layer.cells, layer.is_reversed, strict=True):
        one = _run(cell, turn(inputs, places) if is_reversed else inputs, memory_only=memory_only)
        found.append(_turned(one, places) if is_reversed else one)
    return found


def _turned(found: Trace, places: Tensor) -> Trace:
    given, states, memory, candidates = (turn(part, places) for part in found[:4])
    return Trace(given, states, memory, candidates, {name: turn(gate, places) for name, gate in found.gates.items()})


def _run(cell: nn.RNNBase, inputs: Tensor, *, memory_only: bool) -> Trace:
    into, own, bias_into, bias_own = _weights(cell)
    given = inputs @ into.T + bias_into
    nothing = inputs.new_zeros(len(inputs), cell.hidden_size)
    step, steps = Step(nothing, nothing, nothing, {}), []
    for number in range(inputs.shape[1]):
        before = step.state.detach() if memory_only else step.state
        step = _FORMULAS[type(cell)](given[:, number], before @ own.T + bias_own, step)
        steps.append(step)
    return Trace(
        given,
        states=torch.stack([step.state for step in steps], 1),
        memory=torch.stack([step.memory for step in steps], 1),
        candidates=torch.stack([step.candidate for step in steps], 1),
        gates={name: torch.stack([step.gates[name] for step in steps], 1) for name in step.gates},
    )


def _weights(cell: nn.RNNBase) -> Sequence[Tensor]:
    """Returns the weights (G, D) and (G, H) and the biases (G,) of inputs and of the state."""
    weights = cell.all_weights[0]
    if not isinstance(cell, LSTM1997):
        return weights
    width = cell.hidden_size
    return [torch.cat([weight[:width], weight[2 * width :]]) for weight in weights]
