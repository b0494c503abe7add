"""The vector that ranks sum at each step: their losses, flags and gradients.

Of the word vectors, it holds only the rows of the whole batch, which every rank knows: their gradients need no indices.

Shapes in this module: U rows of the word vectors, D vector size, F flags, P trained parameters.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from tagger.nn.model import Network


class GradientBuffer:
    """Packs the gradients of a network into one vector, and unpacks the sum of such vectors, in turn.

    Args:
        network: the network; its gradients become views of the vector.
        flags: F, the number of further values.
    """

    def __init__(self, network: Network, flags: int) -> None:
        words = network.embedding.words
        self._words = None if words is None else words.weight
        self._network, self._flags = network, flags
        self._buffer, self._rows = torch.empty(0), torch.zeros(0, dtype=torch.int64)

    def pack(self, loss: Tensor, flags: Sequence[float], words: Tensor) -> Tensor:
        """Returns a vector of the loss, the flags and the gradients, which stays valid until the next call.

        Args:
            loss: a scalar.
            flags: (F,) values to sum.
            words: word ids on the CPU, the same on all ranks, at least those of rows with a gradient on any rank; they
                may repeat, and those beyond the last row are ignored.
        """
        if self._words is not None:
            rows = np.unique(words.numpy())
            self._rows = torch.from_numpy(rows[rows < len(self._words)]).to(self._words.device)
        parameters = self._trained_parameters()
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        header = torch.tensor([0.0, *flags, *has_gradient])
        pieces = [header.to(loss.device)]
        for parameter in parameters:
            if parameter is self._words:
                pieces.append(_read_rows(parameter, self._rows).flatten())
            else:
                gradient = parameter.grad
                pieces.append((torch.zeros_like(parameter) if gradient is None else gradient).flatten())
        size = sum(map(len, pieces))
        if len(self._buffer) < size or self._buffer.device != loss.device:
            self._buffer = torch.empty(size + size // 8, device=loss.device)  # batches differ in their words
        packed = torch.cat(pieces, out=self._buffer[:size])
        packed[0] = loss
        return packed

    def unpack(self, packed: Tensor) -> tuple[Tensor, list[float]]:
        """Sets the gradients to those of a sum of vectors of the same words; returns the loss and the flags.

        A parameter without a gradient on any rank has none afterwards.
        """
        parameters = self._trained_parameters()
        start = 1 + self._flags + len(parameters)
        values = packed[1:start].tolist()
        flags, has_gradient = values[: self._flags], values[self._flags :]
        for parameter, is_present in zip(parameters, has_gradient, strict=True):
            is_words = parameter is self._words
            shape = torch.Size((len(self._rows), parameter.shape[1])) if is_words else parameter.shape
            gradient = packed[start : start + prod(shape)].view(shape)
            start += prod(shape)
            if not is_present:
                parameter.grad = None
            elif is_words:
                _write_rows(parameter, self._rows, gradient, is_sparse=self._is_sparse)
            else:
                parameter.grad = gradient
        return packed[0].clone(), flags

    @property
    def _is_sparse(self) -> bool:
        words = self._network.embedding.words
        return words is not None and words.sparse

    def _trained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self._network.parameters() if parameter.requires_grad]


def _read_rows(weight: nn.Parameter, rows: Tensor) -> Tensor:
    """Returns the gradients (U, D) of rows (U,); 0 where there is none."""
    gradient = weight.grad
    if gradient is None:
        return weight.new_zeros(len(rows), weight.shape[1])
    if not gradient.is_sparse:
        return gradient[rows]
    gradient = gradient.coalesce()
    result = weight.new_zeros(len(rows), weight.shape[1])
    return result.index_copy_(0, torch.searchsorted(rows, gradient.indices()[0]), gradient.values())


def _write_rows(weight: nn.Parameter, rows: Tensor, gradient: Tensor, *, is_sparse: bool) -> None:
    """Sets the gradient of a weight to the gradients (U, D) of its rows (U,)."""
    if is_sparse:
        weight.grad = torch.sparse_coo_tensor(
            rows[None], gradient, weight.shape, check_invariants=False, is_coalesced=True
        )
        return
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    weight.grad.index_copy_(0, rows, gradient)
