"""The cells step by step against torch's own modules and against the encoder's layers, outputs and gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tagger.choices import Cell, Direction, options
from tagger.nn.encoder import LSTM1997, RecurrentLayer
from tagger.nn.reference_cells import trace

LENGTHS = torch.tensor([6, 1, 4, 6])
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
GATES = {"lstm": ["input", "forget", "output"], "lstm1997": ["input", "output"], "gru": ["reset", "update"], "rnn": []}


def random_layer(cell: Cell, direction: Direction) -> RecurrentLayer:
    """Returns a layer whose every weight is drawn at random, but for what holds a forget gate open."""
    torch.manual_seed(2)
    layer = RecurrentLayer(5, 7, cell=cell, direction=direction)
    for module in layer.cells:
        for weight in module.parameters():
            nn.init.normal_(weight, std=0.4)
        if isinstance(module, LSTM1997):
            module.open_forget_gate()
    return layer


def inputs() -> Tensor:
    return torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(3)).requires_grad_()


def concatenate_directions(layer: RecurrentLayer, x: Tensor) -> Tensor:
    return torch.cat([actual.hidden for actual in trace(layer, x, LENGTHS)], 2)


def gradients(states: Tensor, x: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Returns the gradients of a loss that sees every token but padding."""
    seen = torch.arange(6) < LENGTHS[:, None]
    wave = torch.sin(torch.arange(states.numel(), dtype=torch.float32)).view_as(states)
    return list(torch.autograd.grad((states * wave)[seen].sum(), [x, *weights]))


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_hidden_states_and_gradients_equal_those_of_torch_modules(cell: Cell, direction: Direction) -> None:
    layer, x = random_layer(cell, direction), inputs()
    reference = MODULES[cell](5, 7, batch_first=True, bidirectional=direction == "both")
    names = [name for name, _ in layer.forward_cell.named_parameters()]
    for name, weight in reference.named_parameters():
        cell_module = layer.backward_cell if name.endswith("_reverse") else layer.forward_cell
        weight.data.copy_(cell_module.get_parameter(name.removesuffix("_reverse")))
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(reference(packed)[0], batch_first=True)[0]
    actual = concatenate_directions(layer, x)
    own = [module.get_parameter(name) for module in layer.cells for name in names]
    theirs = [
        reference.get_parameter(name + way)
        for way in ("", "_reverse")[: 2 if direction == "both" else 1]
        for name in names
    ]
    for sentence, length in enumerate(LENGTHS.tolist()):
        assert_near(actual[sentence, :length], expected[sentence, :length])
    both = zip(gradients(actual, x, own), gradients(expected, x, theirs), strict=True)
    for ours, torchs in both:
        assert_near(ours, torchs)


@pytest.mark.parametrize("shape", [{"direction": "forward"}, {"direction": "backward"}, {"direction": "both"}])
@pytest.mark.parametrize("cell", options(Cell))
def test_hidden_states_and_gradients_equal_those_of_the_encoder_layer(cell: Cell, shape: dict[str, int]) -> None:
    layer, x = random_layer(cell, **shape), inputs()
    actual, expected = concatenate_directions(layer, x), layer(x, LENGTHS)
    for sentence, length in enumerate(LENGTHS.tolist()):
        assert_near(actual[sentence, :length], expected[sentence, :length])
    weights = [weight for module in layer.cells for weight in module.parameters()]
    both = zip(gradients(actual, x, weights), gradients(expected, x, weights), strict=True)
    for stepwise, fused in both:
        torch.testing.assert_close(stepwise, fused, atol=1e-5, rtol=1e-5)  # the kernel's own functions are rounded


@pytest.mark.parametrize("cell", options(Cell))
def test_gates_and_candidates_determine_the_cell_state(cell: Cell) -> None:
    (actual,) = trace(random_layer(cell, "forward"), inputs(), LENGTHS)
    assert list(actual.gates) == GATES[cell]
    before = torch.cat([torch.zeros(4, 1, 7), actual.cell_states[:, :-1]], 1)
    gates, candidate = actual.gates, actual.candidates
    if cell == "lstm":
        assert_near(actual.cell_states, gates["forget"] * before + gates["input"] * candidate)
        assert_near(actual.hidden, gates["output"] * actual.cell_states.tanh())
    elif cell == "lstm1997":
        assert_near(actual.cell_states, before + gates["input"] * candidate)
        assert_near(actual.hidden, gates["output"] * actual.cell_states.tanh())
    elif cell == "gru":
        assert_near(actual.cell_states, gates["update"] * before + (1 - gates["update"]) * candidate)
    else:
        assert_near(actual.cell_states, candidate)


def test_gradients_through_the_cell_state_alone_are_scaled_by_the_forget_gates() -> None:
    layer, x = random_layer("lstm", "forward"), inputs()
    (actual,) = trace(layer, x, LENGTHS, cell_state_only=True)
    last = actual.cell_states[0, 5].sum()
    (of_given,) = torch.autograd.grad(last, actual.projections)
    gates, candidate = actual.gates, actual.candidates
    for token in range(6):
        kept = gates["forget"][0, token + 1 :].prod(0)
        entered = gates["input"][0, token]
        assert_near(of_given[0, token, 14:21], kept * entered * (1 - candidate[0, token] ** 2))


def test_an_rnn_passes_no_gradient_through_the_cell_state_alone() -> None:
    x = inputs()
    (actual,) = trace(random_layer("rnn", "forward"), x, LENGTHS, cell_state_only=True)
    (of_inputs,) = torch.autograd.grad(actual.hidden[0, 5].sum(), x)
    assert of_inputs[0, 5].abs().min() > 0
    assert not of_inputs[0, :5].any()


@pytest.mark.parametrize("lengths", [[3, 0, 1, 1], [7, 1, 1, 1]])
def test_lengths_out_of_range_are_rejected(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"lengths must be from 1 to 6, got \["):
        trace(random_layer("gru", "forward"), inputs(), torch.tensor(lengths))
