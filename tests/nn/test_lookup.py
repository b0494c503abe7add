"""Vectors side by side for each token against torch's own lookups, put together."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tagger.nn import lookup

SIZES = ((7, 5), (4, 16), (3, 1))  # of the tables


def tables(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(size, generator=random).to(dtype).requires_grad_() for size in SIZES]


def indices() -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randint(0, rows, (3, 6), generator=random) for rows, _ in SIZES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_vectors_and_gradients_are_torchs(count: int, threads: int, dtype: torch.dtype) -> None:
    given, chosen = tables(dtype)[:count], indices()[:count]
    found = lookup.side_by_side(given, chosen, threads=threads)
    expected = torch.cat([F.embedding(index, table) for index, table in zip(chosen, given, strict=True)], 2)
    assert torch.equal(found, expected)
    wave = torch.sin(torch.arange(found.numel(), dtype=dtype)).view_as(found)
    both = [torch.autograd.grad((values * wave).sum(), given) for values in (found, expected)]
    for own, theirs in zip(*both, strict=True):
        torch.testing.assert_close(own, theirs)


def test_a_table_that_needs_no_gradient_gets_none() -> None:
    given = tables()
    given[0].requires_grad_(requires_grad=False)
    lookup.side_by_side(given, indices()).sum().backward()
    assert given[0].grad is None
    assert all(table.grad is not None for table in given[1:])
