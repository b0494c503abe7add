"""The states and gradients of LSTMs on a CPU against torch's own modules, sentence by sentence."""

import multiprocessing

import pytest
import torch
from torch import Tensor, nn

from tagger.nn.kernels import lstm

LENGTHS = torch.tensor([3, 7, 1, 7, 4])
IS_REVERSED = [False, True]


def cells(directions: int, width: int = 19) -> list[nn.LSTM]:
    torch.manual_seed(5)
    return [nn.LSTM(11, width, batch_first=True) for _ in range(directions)]


def inputs() -> Tensor:
    return torch.randn(5, 7, 11, generator=torch.Generator().manual_seed(3), requires_grad=True)


def expected(layers: list[nn.LSTM], x: Tensor) -> Tensor:
    """Returns the states with 0 in padding, each sentence by itself."""
    rows = []
    for sentence, length in zip(x, LENGTHS.tolist(), strict=True):
        sentence_inputs = sentence[None, :length]
        states = [layers[0](sentence_inputs)[0], *(cell(sentence_inputs.flip(1))[0].flip(1) for cell in layers[1:])]
        rows.append(nn.functional.pad(torch.cat(states, 2)[0], (0, 0, 0, 7 - length)))
    return torch.stack(rows)


def gradients(states: Tensor, layers: list[nn.LSTM], x: Tensor) -> list[Tensor]:
    weights = [weight for cell in layers for weight in cell.parameters()]
    wave = torch.sin(torch.arange(states.numel(), dtype=torch.float32)).view_as(states)
    return list(torch.autograd.grad((states * wave).sum(), [x, *weights], retain_graph=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("width", [1, 16, 19])
def test_hidden_states_and_gradients_equal_those_of_torch(directions: int, width: int, threads: int) -> None:
    layers, x = cells(directions, width), inputs()
    reference, actual = (
        expected(layers, x),
        lstm.compute_states(layers, x, LENGTHS, is_reversed=IS_REVERSED[: len(layers)], threads=threads),
    )
    torch.testing.assert_close(actual, reference, atol=2e-6, rtol=1e-5)
    both = zip(gradients(actual, layers, x), gradients(reference, layers, x), strict=True)
    for ours, theirs in both:
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_large_inputs_saturate_the_gates_and_give_finite_gradients() -> None:
    layers, x = cells(2), (inputs() * 1e4).detach().requires_grad_()
    actual = lstm.compute_states(layers, x, LENGTHS, is_reversed=IS_REVERSED[: len(layers)])
    torch.testing.assert_close(actual, expected(layers, x), atol=1e-5, rtol=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients(actual, layers, x))


def test_nan_inputs_give_nan_outputs() -> None:
    layers, x = cells(1), inputs().detach()
    x[1, 2, 3] = torch.nan
    actual = lstm.compute_states(layers, x, LENGTHS, is_reversed=IS_REVERSED[: len(layers)])
    assert actual[1, 2:].isnan().all()
    assert actual[[0, 2, 3, 4]].isfinite().all()


def test_gradients_are_bit_equal_in_a_second_run_and_with_two_threads() -> None:
    layers, x = cells(2), inputs()
    once, twice = (
        lstm.compute_states(layers, x, LENGTHS, is_reversed=IS_REVERSED[: len(layers)], threads=threads)
        for threads in (1, 2)
    )
    actual = [gradients(states, layers, x) for states in (once, once, twice)]
    for others in actual[1:]:
        assert all(torch.equal(one, other) for one, other in zip(actual[0], others, strict=True))


def test_inputs_without_requires_grad_get_no_gradient() -> None:
    layers, x = cells(2), inputs().detach()
    lstm.compute_states(layers, x, LENGTHS, is_reversed=IS_REVERSED[: len(layers)]).sum().backward()
    assert x.grad is None
    assert all(weight.grad is not None for cell in layers for weight in cell.parameters())


def _child(results: "multiprocessing.SimpleQueue[float]") -> None:
    with torch.no_grad():
        results.put(lstm.compute_states(cells(2), inputs(), LENGTHS, is_reversed=IS_REVERSED, threads=2).sum().item())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_threads() -> None:
    context = multiprocessing.get_context("fork")
    here, there = (context.SimpleQueue() for _ in range(2))
    _child(here)
    process = context.Process(target=_child, args=(there,), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert there.get() == here.get()
