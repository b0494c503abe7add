"""A 1-D convolution over words' characters followed by max pooling over time, with gradients, on a CPU.

Words are concatenated, so that no time is spent on padding. The gradient of a maximum reaches a single window, so that
no time is spent on the other windows.

Shapes in this module: U words, N characters of all words, D character embedding size, W kernel size, F features, R
rows: the characters, with W // 2 rows of 0 before each word and after the last.
"""

from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor
from torch.autograd.function import once_differentiable

from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import PANEL, Floats, Ids, multiply_into, pack


def max_over_time(inputs: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns (U, F) the maximum of each feature over the windows centred on a word's characters.

    Args:
        inputs: (N, D) characters, word after word, in float32 on a CPU.
        lengths: (U,) characters per word, at least 1.
        weight: (F, D, W), W odd.
        bias: (F,).
    """
    return _MaxOverTime.apply(inputs, lengths, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class _MaxOverTime(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        features, dim, kernel_size = weight.shape
        margin, counts = kernel_size // 2, lengths.numpy()
        starts = np.cumsum(counts + margin) - counts
        positions = np.arange(len(inputs)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        rows = np.zeros((len(inputs) + margin * (len(counts) + 1), dim), np.float32)
        rows[positions] = inputs.detach().numpy()
        window_weight = np.ascontiguousarray(weight.detach().transpose(1, 2).reshape(features, -1).numpy())
        panels = pack(window_weight.T)
        values = np.empty((len(rows) - 2 * margin, len(panels) * PANEL), np.float32)
        # A window is contiguous in memory: it starts at the row of its first character.
        multiply_into(as_strided(rows, (len(values), kernel_size * dim), rows.strides), len(values), panels, values)
        maxima, argmax = np.empty((len(counts), features), np.float32), np.empty((len(counts), features), np.int64)
        _max_pool(values, starts - margin, counts, maxima, argmax)
        context.saved = rows, positions, window_weight, argmax, weight.shape
        return torch.from_numpy(maxima) + bias.detach()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, positions, window_weight, argmax, (features, dim, kernel_size) = context.saved
        row_gradient, weight_gradient = np.zeros_like(rows), np.zeros_like(window_weight)
        flat = rows.reshape(-1), row_gradient.reshape(-1)
        _max_pool_backward(
            gradient.contiguous().numpy(), argmax * dim, window_weight, flat[0], flat[1], weight_gradient
        )
        by_character = torch.from_numpy(weight_gradient).view(features, kernel_size, dim)
        return torch.from_numpy(row_gradient[positions]), None, by_character.transpose(1, 2), gradient.sum(0)


@compiled()
def _max_pool(values: Floats, starts: Ids, lengths: Ids, maxima: Floats, argmax: Ids) -> None:  # pragma: no cover
    """Writes the maximum (U, F) of each feature over a word's windows, and the first window that reaches it."""
    for word in range(len(starts)):
        first = starts[word]
        for feature in range(maxima.shape[1]):
            maxima[word, feature], argmax[word, feature] = values[first, feature], first
        for window in range(first + 1, first + lengths[word]):
            _update_maxima(values[window], window, maxima[word], argmax[word])


@elementwise
def _update_maxima(values: Floats, window: int, maxima: Floats, argmax: Ids) -> None:  # pragma: no cover
    for feature in range(len(maxima)):
        maximum, value = maxima[feature], values[feature]
        exceeds = not value <= maximum and maximum == maximum  # NaN counts as the maximum
        maxima[feature] = value if exceeds else maximum
        argmax[feature] = window if exceeds else argmax[feature]


@compiled()
def _max_pool_backward(
    gradient: Floats, starts: Ids, weight: Floats, rows: Floats, row_gradient: Floats, weight_gradient: Floats
) -> None:  # pragma: no cover
    """Adds the gradients of rows and weights, given those of the maxima.

    Args:
        gradient: (U, F) of the maxima.
        starts: (U, F) index in `rows` at which the window of each maximum starts.
        weight: (F, W D).
        rows: (R D,) flattened.
        row_gradient: (R D,), added to.
        weight_gradient: (F, W D), added to.
    """
    size = weight.shape[1]
    for word in range(len(gradient)):
        for feature in range(gradient.shape[1]):
            start = starts[word, feature]
            factor, stop = gradient[word, feature], start + size
            _add_scaled(factor, rows[start:stop], weight_gradient[feature])
            _add_scaled(factor, weight[feature], row_gradient[start:stop])


@elementwise
def _add_scaled(factor: np.float32, values: Floats, total: Floats) -> None:  # pragma: no cover
    for index in range(len(values)):
        total[index] += factor * values[index]
