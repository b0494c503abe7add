"""The largest values of a convolution and their gradients against torch's own, word by word."""

import pytest
import torch
from torch import Tensor, nn

from tagger.nn.kernels import convolution

LENGTHS = torch.tensor([3, 7, 1, 2, 7])
PLACES = torch.cumsum(LENGTHS, 0) - LENGTHS


def layer(kernel: int, features: int = 19) -> nn.Conv1d:
    torch.manual_seed(5)
    return nn.Conv1d(6, features, kernel, padding=kernel // 2)


def inputs() -> Tensor:
    return torch.randn(int(LENGTHS.sum()), 6, generator=torch.Generator().manual_seed(3), requires_grad=True)


def expected(of: nn.Conv1d, given: Tensor) -> Tensor:
    words = given.split(LENGTHS.tolist())
    return torch.stack([of(word.T[None])[0].max(1).values for word in words])


@pytest.mark.parametrize("features", [1, 16, 19])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_values_and_gradients_are_torchs(kernel: int, features: int) -> None:
    of, given = layer(kernel, features), inputs()
    assert of.bias is not None
    reference, found = expected(of, given), convolution.max_over_time(given, LENGTHS, of.weight, of.bias)
    torch.testing.assert_close(found, reference, atol=1e-6, rtol=1e-5)
    wave = torch.sin(torch.arange(found.numel(), dtype=torch.float32)).view_as(found)
    both = [torch.autograd.grad((values * wave).sum(), [given, of.weight, of.bias]) for values in (found, reference)]
    for own, theirs in zip(*both, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)


def test_of_equal_values_the_first_gets_the_gradient() -> None:
    of, given = layer(1), torch.ones(int(LENGTHS.sum()), 6, requires_grad=True)
    assert of.bias is not None
    convolution.max_over_time(given, LENGTHS, of.weight, of.bias).sum().backward()
    assert given.grad is not None
    assert given.grad.any(1).nonzero()[:, 0].tolist() == PLACES.tolist()


@pytest.mark.parametrize("place", [3, 6, 9])
def test_what_is_not_a_number_is_not_hidden(place: int) -> None:
    of, given = layer(3), inputs().detach()
    given[place] = torch.nan
    assert of.bias is not None
    found = convolution.max_over_time(given, LENGTHS, of.weight, of.bias)
    assert found[1].isnan().all()
    assert found[[0, 2, 3, 4]].isfinite().all()
