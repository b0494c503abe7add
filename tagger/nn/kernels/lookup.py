"""Vectors of words, documents and the like, put together for each token.

Shapes in this module: B sentences, T tokens in the longest one, V vectors of a table, W their width, D all widths
together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.nn.kernels.compiling import compiled
from tagger.nn.kernels.products import Floats, Ids, add


def concatenated(tables: Sequence[Tensor], indices: Sequence[Tensor]) -> Tensor:
    """Returns (B, T, D) of each token one vector from each table.

    Args:
        tables: (V, W) each, of widths of their own.
        indices: for each table (B, T) which of its vectors, in [0, V).

    Raises:
        IndexError: an index is out of range.
    """
    if any(table.device.type != "cpu" or table.dtype != torch.float32 for table in tables):
        return torch.cat([F.embedding(index, table) for index, table in zip(indices, tables, strict=True)], 2)
    for index, table in zip(indices, tables, strict=True):
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(table):
            raise IndexError(f"an index is out of range of {len(table)} vectors")
    return _Concatenated.apply(indices, *tables)  # type: ignore[no-any-return, no-untyped-call]


class _Concatenated(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, indices: Sequence[Tensor], *tables: Tensor) -> Tensor:
        context.indices = [index.reshape(-1).numpy() for index in indices]
        context.shapes = [table.shape for table in tables]
        out = tables[0].new_empty(*indices[0].shape, sum(table.shape[1] for table in tables))
        given = [table.detach().contiguous().numpy() for table in tables]
        _each(_lay, given, context.indices, out.view(-1, out.shape[2]).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = [gradient.new_zeros(shape) for shape in context.shapes]
        lines = gradient.reshape(-1, gradient.shape[2]).contiguous().numpy()
        _each(_take_back, [table.numpy() for table in found], context.indices, lines)
        return None, *found


def _each(act: Callable[..., None], tables: Sequence[Floats], indices: Sequence[Ids], lines: Floats) -> None:
    """Does with each table, its index and its first column what is to be done."""
    first = 0
    for table, index in zip(tables, indices, strict=True):
        act(table, index, lines, first)
        first += table.shape[1]


@compiled()
def _lay(table: Floats, index: Ids, lines: Floats, first: int) -> None:  # pragma: no cover
    """Writes vectors of a table into lines (B T, D) from a column on."""
    for token, row in enumerate(index):
        lines[token][first : first + table.shape[1]] = table[row]


@compiled()
def _take_back(table: Floats, index: Ids, lines: Floats, first: int) -> None:  # pragma: no cover
    """Adds lines (B T, D), from a column on, to the vectors that were laid there."""
    for token, row in enumerate(index):
        add(table[row], lines[token][first : first + table.shape[1]])
