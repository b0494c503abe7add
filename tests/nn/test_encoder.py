"""The recurrent encoder against torch's own bidirectional modules over packed sequences, and its invariances."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tagger.choices import Cell, Merge, options
from tagger.nn.encoder import LSTM1997, Encoder, RecurrentLayer

LENGTHS = torch.tensor([6, 1, 4])


def inputs() -> Tensor:
    return torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("cell", "module"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_a_layer_equals_torch_over_packed_sequences(cell: Cell, module: type[nn.RNNBase]) -> None:
    layer = RecurrentLayer(5, 4, cell=cell)
    reference = module(5, 4, batch_first=True, bidirectional=True)
    state = dict(layer.forward_cell.state_dict())
    state |= {f"{name}_reverse": value for name, value in layer.backward_cell.state_dict().items()}
    reference.load_state_dict(state)
    packed = pack_padded_sequence(inputs(), LENGTHS, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(reference(packed)[0], batch_first=True)[0]
    actual = layer(inputs(), LENGTHS)
    for sentence, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(actual[sentence, :length], expected[sentence, :length], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("merge", options(Merge))
@pytest.mark.parametrize("cell", options(Cell))
@pytest.mark.parametrize("heads", [0, 2])
def test_a_sentence_has_the_same_states_alone_and_in_a_batch(cell: Cell, merge: Merge, heads: int) -> None:
    encoder = Encoder(5, 4, cell=cell, num_layers=2, merge=merge, attention_heads=heads).eval()
    assert encoder.output_size == (8 if merge == "concat" else 4)
    batch = inputs()
    batch[1, 1:] = 1e3  # padding may hold anything
    together = encoder(batch, LENGTHS)
    for sentence, length in enumerate(LENGTHS.tolist()):
        alone = encoder(batch[sentence : sentence + 1, :length], LENGTHS[sentence : sentence + 1])
        torch.testing.assert_close(together[sentence, :length], alone[0], atol=1e-5, rtol=1e-4)


def test_sum_and_mean_merge_the_two_directions() -> None:
    layers = [RecurrentLayer(5, 4, merge=merge) for merge in options(Merge)]
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
    concat, added, mean = (layer(inputs(), LENGTHS) for layer in layers)
    torch.testing.assert_close(added, concat[:, :, :4] + concat[:, :, 4:])
    torch.testing.assert_close(mean, added / 2)


def test_a_forward_encoder_does_not_see_later_tokens() -> None:
    encoder = Encoder(5, 4, direction="forward")
    changed = inputs()
    changed[:, 3:] += 1
    before, after = encoder(inputs(), LENGTHS), encoder(changed, LENGTHS)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[0, 3], after[0, 3])


@pytest.mark.parametrize("cell", options(Cell))
def test_a_backward_layer_equals_a_forward_layer_over_reversed_sentences(cell: Cell) -> None:
    forward, backward = (RecurrentLayer(5, 4, cell=cell, direction=direction) for direction in ("forward", "backward"))
    backward.backward_cell.load_state_dict(forward.forward_cell.state_dict())
    for sentence, length in zip(inputs(), LENGTHS, strict=True):
        alone = sentence[None, :length]
        expected = forward(alone.flip(1), length[None]).flip(1)
        torch.testing.assert_close(backward(alone, length[None]), expected)


def test_initial_forget_biases_are_as_set_and_recurrent_weights_orthogonal() -> None:
    cell = RecurrentLayer(5, 4, direction="forward", forget_bias=1.5).forward_cell
    bias = cell.bias_ih_l0 + cell.bias_hh_l0
    assert bias.tolist() == [0.0] * 4 + [1.5] * 4 + [0.0] * 8
    for gate in cell.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)


def test_training_does_not_change_the_forget_gate_of_an_lstm1997() -> None:
    layer = RecurrentLayer(5, 4, cell="lstm1997")
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    assert all((bias[4:8] == 1e4).all() for bias in (LSTM1997(5, 4).bias_ih_l0, layer.cells[0].bias_ih_l0))
    before = [weight.detach().clone() for weight in layer.parameters()]
    for _ in range(5):
        optimizer.zero_grad()
        layer(inputs(), LENGTHS).square().sum().backward()
        optimizer.step()
    for was, weight in zip(before, layer.parameters(), strict=True):
        assert torch.equal(was[4:8], weight[4:8])
        assert not torch.equal(was[8:12], weight[8:12])


def test_two_runs_give_bit_equal_gradients() -> None:
    encoder = Encoder(5, 4)
    gradients = []
    for _ in range(2):
        encoder.zero_grad()
        encoder(inputs(), LENGTHS).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
