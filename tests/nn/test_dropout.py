"""What dropout leaves, drops and draws."""

import pytest
import torch

from tagger.nn.dropout import Dropout, drop


def test_locked_dropout_shares_a_mask_among_tokens_and_element_dropout_does_not() -> None:
    ones = torch.ones(2, 50, 8)
    locked, element = Dropout("locked", 0.5)(ones), Dropout("element", 0.5)(ones)
    assert (locked == locked[:, :1]).all()
    assert not (element == element[:, :1]).all()
    assert set(locked.unique().tolist()) <= {0.0, 2.0}
    assert torch.equal(Dropout("locked", 0.5).eval()(ones), ones)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1 - 1e-9])
def test_dropout_preserves_the_mean_and_drops_the_given_fraction(rate: float) -> None:
    torch.manual_seed(7)
    ones = torch.ones(3, 333_333)
    actual = drop(ones, rate)
    fraction = 1 - 2**-16 if rate > 0.99 else rate
    assert (actual == 0).float().mean().item() == pytest.approx(fraction, abs=3e-3)
    nonzero = actual[actual != 0]
    torch.testing.assert_close(nonzero, torch.full_like(nonzero, 1 / (1 - fraction)), atol=0, rtol=1e-3)


def test_dropout_draws_new_masks_passes_gradients_and_follows_the_seed() -> None:
    ones = torch.ones(4, 5, 6, requires_grad=True)
    torch.manual_seed(7)
    once, twice = drop(ones, 0.5), drop(ones, 0.5)
    torch.manual_seed(7)
    assert torch.equal(drop(ones, 0.5), once)
    assert not torch.equal(once, twice)
    assert torch.equal(torch.autograd.grad(once.sum(), ones)[0], once)


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(7)
    draws = [(drop(torch.ones(400_000), 0.5) - 1) for _ in range(2)]
    assert abs((draws[0] * draws[1]).mean().item()) < 0.01
    for distance in (1, 2, 3, 4, 8, 256, 1024, 4096):
        assert abs((draws[0][distance:] * draws[0][:-distance]).mean().item()) < 0.01, distance


def test_nan_inputs_give_nan_outputs() -> None:
    assert drop(torch.full((1000,), torch.nan), 0.5).isnan().all()


def test_the_memory_layout_does_not_matter() -> None:
    x = torch.randn(30, 20, requires_grad=True)
    torch.manual_seed(7)
    actual = drop(x.T, 0.5)
    torch.manual_seed(7)
    torch.testing.assert_close(actual, drop(x.T.contiguous(), 0.5))
    is_reversed = torch.randn(30, 20).T
    torch.testing.assert_close(
        torch.autograd.grad(actual, x, is_reversed)[0].T, is_reversed * (actual.detach() != 0) * 2
    )
