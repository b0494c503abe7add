"""Packed windows: a transformer reads windows of subwords one after another, so that it computes no padding.

Shapes in this module: M subwords of all windows, N tokens, H heads, E size of a head.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class PackedWindows(NamedTuple):
    """Windows of subwords, one after another.

    Attributes:
        ids: (M,) subword ids, special tokens included.
        lengths: subwords per window; windows of one length follow each other.
        first: (N,) index of the first subword of each token.
        last: (N,) index of the last subword of each token.
    """

    ids: Tensor
    lengths: Sequence[int]
    first: Tensor
    last: Tensor


def window_positions(lengths: Sequence[int]) -> Tensor:
    """Returns the position (M,) of each subword in its window.

    >>> window_positions([3, 2]).tolist()
    [0, 1, 2, 0, 1]
    """
    return torch.cat([torch.arange(length) for length in lengths])


class WindowAttention(TorchFunctionMode):
    """Within the block, a subword of a batch of one row attends to the subwords of its own window only.

    It changes the calls of torch's `scaled_dot_product_attention` in this thread.

    Args:
        lengths: subwords per window of the row.

    Attributes:
        calls: number of calls that were changed.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self._groups = [(length, sum(1 for _ in group)) for length, group in groupby(lengths)]
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **options)
        self.calls += 1
        return self._attend(func, *args, **options)

    def _attend(
        self,
        attend: Callable[..., Tensor],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Returns the outputs (1, H, M, E) for queries, keys and values (1, H, M, E)."""
        if attn_mask is not None:
            raise ValueError("packed windows are read without a mask")
        # Subwords before heads in memory, which is how a transformer reads the result.
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        start, heads = 0, query.shape[1]
        for length, count in self._groups:
            stop = start + count * length
            # As (count, H, length, E), without a copy.
            *tensors, target = (
                tensor[0, :, start:stop].view(heads, count, length, -1).transpose(0, 1)
                for tensor in (query, key, value, out)
            )
            target.copy_(attend(*tensors, **options))
            start = stop
        return out
