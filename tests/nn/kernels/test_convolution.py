"""The largest values of a convolution and their gradients against torch's own, word by word."""

import pytest
import torch
from torch import Tensor, nn

from tagger.nn.kernels import convolution

LENGTHS = torch.tensor([3, 7, 1, 2, 7])
STARTS = torch.cumsum(LENGTHS, 0) - LENGTHS


def layer(kernel: int, features: int = 19) -> nn.Conv1d:
    torch.manual_seed(5)
    return nn.Conv1d(6, features, kernel, padding=kernel // 2)


def inputs() -> Tensor:
    return torch.randn(int(LENGTHS.sum()), 6, generator=torch.Generator().manual_seed(3), requires_grad=True)


def expected(conv: nn.Conv1d, x: Tensor) -> Tensor:
    words = x.split(LENGTHS.tolist())
    return torch.stack([conv(word.T[None])[0].max(1).values for word in words])


@pytest.mark.parametrize("features", [1, 16, 19])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_maxima_and_gradients_equal_those_of_torch(kernel: int, features: int) -> None:
    conv, x = layer(kernel, features), inputs()
    assert conv.bias is not None
    reference, actual = expected(conv, x), convolution.max_over_time(x, LENGTHS, conv.weight, conv.bias)
    torch.testing.assert_close(actual, reference, atol=1e-6, rtol=1e-5)
    wave = torch.sin(torch.arange(actual.numel(), dtype=torch.float32)).view_as(actual)
    both = [torch.autograd.grad((values * wave).sum(), [x, conv.weight, conv.bias]) for values in (actual, reference)]
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_first_of_equal_values_gets_the_gradient() -> None:
    conv, x = layer(1), torch.ones(int(LENGTHS.sum()), 6, requires_grad=True)
    assert conv.bias is not None
    convolution.max_over_time(x, LENGTHS, conv.weight, conv.bias).sum().backward()
    assert x.grad is not None
    assert x.grad.any(1).nonzero()[:, 0].tolist() == STARTS.tolist()


@pytest.mark.parametrize("position", [3, 6, 9])
def test_nan_inputs_give_nan_outputs(position: int) -> None:
    conv, x = layer(3), inputs().detach()
    x[position] = torch.nan
    assert conv.bias is not None
    actual = convolution.max_over_time(x, LENGTHS, conv.weight, conv.bias)
    assert actual[1].isnan().all()
    assert actual[[0, 2, 3, 4]].isfinite().all()
