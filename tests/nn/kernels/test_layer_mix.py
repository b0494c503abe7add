"""Weighted sums of normalized layers and their gradients: those of plain torch in double precision."""

import pytest
import torch

from tagger.nn.kernels.layer_mix import mix_normalized


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 4), (40, 7, 384), (3, 2, 37), (0, 2, 8)])
def test_sums_and_gradients_are_those_of_the_formula(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    hidden_states, weights = 3 * torch.randn(shape) + 5, torch.randn(shape[1], requires_grad=True)
    direction = torch.randn(shape[0], shape[2])
    mixed = mix_normalized(hidden_states, weights)
    (gradient,) = torch.autograd.grad(mixed, weights, direction)
    centred = hidden_states.double() - hidden_states.double().mean(2, keepdim=True)
    normed = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(mixed.double(), (normed * weights[:, None]).sum(1), atol=1e-5, rtol=1e-5)
    expected = (normed * direction[:, None]).sum((0, 2))
    torch.testing.assert_close(gradient.double(), expected, atol=2e-5 * max(1, shape[0]), rtol=1e-5)


def test_a_token_has_the_same_sum_in_every_batch() -> None:
    hidden_states, weights = torch.randn(9, 3, 20), torch.tensor([0.2, -1.0, 3.0])
    together = mix_normalized(hidden_states, weights)
    assert torch.equal(together, torch.cat([mix_normalized(hidden_states[row : row + 1], weights) for row in range(9)]))


def test_trained_states_get_the_gradients_of_the_formula() -> None:
    hidden_states = torch.randn(4, 3, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.2, -1.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mix_normalized, (hidden_states, weights))
    single = hidden_states.detach().float().requires_grad_()
    mix_normalized(single, weights.detach().float()).square().sum().backward()
    assert single.grad is not None
    assert single.grad.abs().max() > 0


def test_a_state_that_is_not_finite_gives_a_sum_that_is_not_finite() -> None:
    hidden_states = torch.randn(2, 2, 16)
    hidden_states[1, 0, 3] = torch.nan
    mixed = mix_normalized(hidden_states, torch.ones(2))
    assert mixed[0].isfinite().all()
    assert mixed[1].isnan().all()
