"""Vectors side by side for each token against torch's own lookups, put together."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tagger.nn.kernels import lookup

SIZES = ((7, 5), (4, 16), (3, 1))  # of the tables


def tables() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(size, generator=random, requires_grad=True) for size in SIZES]


def indices() -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randint(0, rows, (3, 6), generator=random) for rows, _ in SIZES]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_vectors_and_gradients_equal_those_of_torch(count: int) -> None:
    vectors, chosen = tables()[:count], indices()[:count]
    actual = lookup.concatenate(vectors, chosen)
    expected = torch.cat([F.embedding(index, table) for index, table in zip(chosen, vectors, strict=True)], 2)
    assert torch.equal(actual, expected)
    wave = torch.sin(torch.arange(actual.numel(), dtype=torch.float32)).view_as(actual)
    both = [torch.autograd.grad((values * wave).sum(), vectors) for values in (actual, expected)]
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_table_without_requires_grad_gets_no_gradient() -> None:
    vectors = tables()
    vectors[0].requires_grad_(requires_grad=False)
    lookup.concatenate(vectors, indices()).sum().backward()
    assert vectors[0].grad is None
    assert all(table.grad is not None for table in vectors[1:])


@pytest.mark.parametrize("wrong", [-1, 4])
def test_an_index_out_of_range_is_rejected(wrong: int) -> None:
    chosen = indices()
    chosen[1][2, 3] = wrong
    with pytest.raises(IndexError, match="out of range of 4 vectors"):
        lookup.concatenate(tables(), chosen)
