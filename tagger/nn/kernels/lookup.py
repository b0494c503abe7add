"""Embedding lookups in several tables, concatenated for each token.

Shapes in this module: B sentences, T tokens in the longest one, V rows of a table, W its vector size, D all vector
sizes together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.nn.kernels.compiling import compiled
from tagger.nn.kernels.matmul import Floats, Ids, add_into


def concatenate(tables: Sequence[Tensor], indices: Sequence[Tensor]) -> Tensor:
    """Returns (B, T, D) the concatenated vectors of each token, one from each table.

    Args:
        tables: (V, W) each; V and W may differ between tables.
        indices: for each table, (B, T) rows in [0, V).

    Raises:
        IndexError: an index is out of range.
    """
    if any(table.device.type != "cpu" or table.dtype != torch.float32 for table in tables):
        return torch.cat([F.embedding(index, table) for index, table in zip(indices, tables, strict=True)], 2)
    for index, table in zip(indices, tables, strict=True):
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(table):
            raise IndexError(f"an index is out of range of {len(table)} vectors")
    return _Concatenate.apply(indices, *tables)  # type: ignore[no-any-return, no-untyped-call]


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, indices: Sequence[Tensor], *tables: Tensor) -> Tensor:
        context.indices = [index.reshape(-1).numpy() for index in indices]
        context.shapes = [table.shape for table in tables]
        out = tables[0].new_empty(*indices[0].shape, sum(table.shape[1] for table in tables))
        arrays = [table.detach().contiguous().numpy() for table in tables]
        _for_each_table(_gather, arrays, context.indices, out.view(-1, out.shape[2]).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [gradient.new_zeros(shape) for shape in context.shapes]
        rows = gradient.reshape(-1, gradient.shape[2]).contiguous().numpy()
        _for_each_table(_scatter_add, [table.numpy() for table in gradients], context.indices, rows)
        return None, *gradients


def _for_each_table(
    function: Callable[..., None], tables: Sequence[Floats], indices: Sequence[Ids], rows: Floats
) -> None:
    """Calls a function with each table, its index, the rows (B T, D) and the table's first column in them."""
    first = 0
    for table, index in zip(tables, indices, strict=True):
        function(table, index, rows, first)
        first += table.shape[1]


@compiled()
def _gather(table: Floats, index: Ids, rows: Floats, first: int) -> None:  # pragma: no cover
    """Copies vectors of a table into the columns of `rows` from `first` on."""
    for token, row in enumerate(index):
        for column in range(table.shape[1]):  # an assignment to a slice takes seconds to compile
            rows[token, first + column] = table[row, column]


@compiled()
def _scatter_add(table: Floats, index: Ids, rows: Floats, first: int) -> None:  # pragma: no cover
    """Adds the columns of `rows` from `first` on to the vectors of a table."""
    for token, row in enumerate(index):
        add_into(table[row], rows[token][first : first + table.shape[1]])
