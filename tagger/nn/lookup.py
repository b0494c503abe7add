"""Vectors of words, documents and the like, laid side by side for each token.

Shapes in this module: B sentences, T tokens, N = B T, V vectors of a table, W their width, D all widths together.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagger.nn.compiling import compiled
from tagger.nn.neighbours import add
from tagger.nn.products import Floats, Ids
from tagger.nn.threads import at_once


def side_by_side(tables: Sequence[Tensor], indices: Sequence[Tensor], *, threads: int = 1) -> Tensor:
    """Returns (B, T, D) of each token one vector from each table.

    Args:
        tables: (V, W) each, of widths of their own.
        indices: for each table (B, T), which of its vectors.
        threads: how many may be busy at once on a CPU; the result is the same.
    """
    if all(table.device.type == "cpu" and table.dtype == torch.float32 for table in tables):
        return _SideBySide.apply(threads, indices, *tables)  # type: ignore[no-any-return, no-untyped-call]
    return torch.cat([F.embedding(index, table) for index, table in zip(indices, tables, strict=True)], 2)


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, threads: int, indices: Sequence[Tensor], *tables: Tensor) -> Tensor:
        context.threads, context.indices = threads, [index.reshape(-1).numpy() for index in indices]
        context.rows = [len(table) for table in tables]
        context.widths = [table.shape[1] for table in tables]
        out = torch.empty(*indices[0].shape, sum(context.widths))
        lines = out.view(-1, out.shape[2]).numpy()
        given = [table.detach().contiguous().numpy() for table in tables]
        _in_halves(_lay, given, context, lines)
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sizes = zip(context.rows, context.widths, context.needs_input_grad[2:], strict=True)
        found = [torch.zeros(rows, width) if needed else None for rows, width, needed in sizes]
        lines = gradient.reshape(-1, gradient.shape[2]).contiguous().numpy()
        _in_halves(_take_back, [None if table is None else table.numpy() for table in found], context, lines)
        return None, None, *found


def _in_halves(act: Any, tables: Sequence[Floats | None], context: Any, lines: Floats) -> None:
    """Lets the first table, which is the words', be worked on beside the others."""
    firsts = [sum(context.widths[:number]) for number in range(len(tables))]
    work = list(zip(tables, context.indices, firsts, strict=True))

    def all_of(part: slice) -> None:
        for table, index, first in work[part]:
            if table is not None:
                act(table, index, lines, first)

    at_once([partial(all_of, slice(1)), partial(all_of, slice(1, None))], context.threads)


@compiled()
def _lay(table: Floats, index: Ids, lines: Floats, first: int) -> None:  # pragma: no cover
    """Writes vectors of a table into lines (N, D) from a column on."""
    width = table.shape[1]
    for token, row in enumerate(index):
        lines[token][first : first + width] = table[row]


@compiled()
def _take_back(table: Floats, index: Ids, lines: Floats, first: int) -> None:  # pragma: no cover
    """Adds lines (N, D), from a column on, to the vectors that they were laid from."""
    width = table.shape[1]
    for token, row in enumerate(index):
        add(table[row], lines[token][first : first + width])
