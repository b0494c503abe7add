"""The states and gradients of LSTMs on a CPU against torch's own modules, sentence by sentence."""

import multiprocessing

import pytest
import torch
from torch import Tensor, nn

from tagger.nn.kernels import lstm

LENGTHS = torch.tensor([3, 7, 1, 7, 4])
TURNED = [False, True]


def cells(directions: int, width: int = 19) -> list[nn.LSTM]:
    torch.manual_seed(5)
    return [nn.LSTM(11, width, batch_first=True) for _ in range(directions)]


def inputs() -> Tensor:
    return torch.randn(5, 7, 11, generator=torch.Generator().manual_seed(3), requires_grad=True)


def expected(of: list[nn.LSTM], given: Tensor) -> Tensor:
    """Returns the states with 0 in padding, each sentence by itself."""
    rows = []
    for sentence, length in zip(given, LENGTHS.tolist(), strict=True):
        own = sentence[None, :length]
        states = [of[0](own)[0], *(cell(own.flip(1))[0].flip(1) for cell in of[1:])]
        rows.append(nn.functional.pad(torch.cat(states, 2)[0], (0, 0, 0, 7 - length)))
    return torch.stack(rows)


def gradients(states: Tensor, of: list[nn.LSTM], given: Tensor) -> list[Tensor]:
    weights = [weight for cell in of for weight in cell.parameters()]
    wave = torch.sin(torch.arange(states.numel(), dtype=torch.float32)).view_as(states)
    return list(torch.autograd.grad((states * wave).sum(), [given, *weights], retain_graph=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("width", [1, 16, 19])
def test_states_and_gradients_are_torchs(directions: int, width: int, threads: int) -> None:
    of, given = cells(directions, width), inputs()
    reference, found = (
        expected(of, given),
        lstm.compute_states(of, given, LENGTHS, is_reversed=TURNED[: len(of)], threads=threads),
    )
    torch.testing.assert_close(found, reference, atol=2e-6, rtol=1e-5)
    both = zip(gradients(found, of, given), gradients(reference, of, given), strict=True)
    for own, theirs in both:
        torch.testing.assert_close(own, theirs, atol=2e-5, rtol=1e-4)


def test_large_inputs_saturate_the_gates_and_give_finite_gradients() -> None:
    of, given = cells(2), (inputs() * 1e4).detach().requires_grad_()
    found = lstm.compute_states(of, given, LENGTHS, is_reversed=TURNED[: len(of)])
    torch.testing.assert_close(found, expected(of, given), atol=1e-5, rtol=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients(found, of, given))


def test_what_is_not_a_number_is_not_hidden() -> None:
    of, given = cells(1), inputs().detach()
    given[1, 2, 3] = torch.nan
    found = lstm.compute_states(of, given, LENGTHS, is_reversed=TURNED[: len(of)])
    assert found[1, 2:].isnan().all()
    assert found[[0, 2, 3, 4]].isfinite().all()


def test_gradients_are_the_same_a_second_time_and_with_two_threads() -> None:
    of, given = cells(2), inputs()
    once, twice = (
        lstm.compute_states(of, given, LENGTHS, is_reversed=TURNED[: len(of)], threads=threads) for threads in (1, 2)
    )
    found = [gradients(states, of, given) for states in (once, once, twice)]
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_inputs_that_need_no_gradient_get_none() -> None:
    of, given = cells(2), inputs().detach()
    lstm.compute_states(of, given, LENGTHS, is_reversed=TURNED[: len(of)]).sum().backward()
    assert given.grad is None
    assert all(weight.grad is not None for cell in of for weight in cell.parameters())


def _child(results: "multiprocessing.SimpleQueue[float]") -> None:
    with torch.no_grad():
        results.put(lstm.compute_states(cells(2), inputs(), LENGTHS, is_reversed=TURNED, threads=2).sum().item())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    context = multiprocessing.get_context("fork")
    here, there = (context.SimpleQueue() for _ in range(2))
    _child(here)
    process = context.Process(target=_child, args=(there,), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert there.get() == here.get()
