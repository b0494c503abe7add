"""A convolution over words' characters and the largest value of each feature, with gradients, on a CPU.

Words lie one after another, so that nothing is spent on padding; and the gradient of a largest value reaches a single
window, so that nothing is spent on the others.

Shapes in this module: U words, N characters of all of them, D width of a character, W characters in a window, F
features, R rows: the characters with W // 2 rows of 0 before each word and after the last.
"""

from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor
from torch.autograd.function import once_differentiable

from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import PANEL, Floats, Ids, multiply_into, packed


def largest(inputs: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns (U, F) the largest value of each feature over the windows around a word's characters.

    Args:
        inputs: (N, D) the characters, one word after another, in float32 on a CPU.
        lengths: (U,) characters in each word, at least 1.
        weight: (F, D, W), W odd.
        bias: (F,).
    """
    return _Largest.apply(inputs, lengths, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        features, width, kernel = weight.shape
        margin, counts = kernel // 2, lengths.numpy()
        starts = np.cumsum(counts + margin) - counts
        places = np.arange(len(inputs)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        rows = np.zeros((len(inputs) + margin * (len(counts) + 1), width), np.float32)
        rows[places] = inputs.detach().numpy()
        of_windows = np.ascontiguousarray(weight.detach().transpose(1, 2).reshape(features, -1).numpy())
        panels = packed(of_windows.T)
        values = np.empty((len(rows) - 2 * margin, len(panels) * PANEL), np.float32)
        # A window lies in one piece, from where its first character's row begins.
        multiply_into(as_strided(rows, (len(values), kernel * width), rows.strides), len(values), panels, values)
        found, chosen = np.empty((len(counts), features), np.float32), np.empty((len(counts), features), np.int64)
        _choose(values, starts - margin, counts, found, chosen)
        context.kept = rows, places, of_windows, chosen, weight.shape
        return torch.from_numpy(found) + bias.detach()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, places, of_windows, chosen, (features, width, kernel) = context.kept
        of_rows, of_weight = np.zeros_like(rows), np.zeros_like(of_windows)
        pieces = rows.reshape(-1), of_rows.reshape(-1)
        _give_back(gradient.contiguous().numpy(), chosen * width, of_windows, pieces[0], pieces[1], of_weight)
        by_character = torch.from_numpy(of_weight).view(features, kernel, width)
        return torch.from_numpy(of_rows[places]), None, by_character.transpose(1, 2), gradient.sum(0)


@compiled()
def _choose(values: Floats, starts: Ids, lengths: Ids, found: Floats, chosen: Ids) -> None:  # pragma: no cover
    """Writes the largest value (U, F) of each feature in a word's windows, and the window where it first stands."""
    for word in range(len(starts)):
        first = starts[word]
        for feature in range(found.shape[1]):
            found[word, feature], chosen[word, feature] = values[first, feature], first
        for window in range(first + 1, first + lengths[word]):
            _exceed(values[window], window, found[word], chosen[word])


@unit_wise
def _exceed(values: Floats, window: int, found: Floats, chosen: Ids) -> None:  # pragma: no cover
    for feature in range(len(found)):
        best, value = found[feature], values[feature]
        exceeds = not value <= best and best == best  # what is not a number is the largest
        found[feature] = value if exceeds else best
        chosen[feature] = window if exceeds else chosen[feature]


@compiled()
def _give_back(
    gradient: Floats, starts: Ids, weight: Floats, pieces: Floats, of_pieces: Floats, of_weight: Floats
) -> None:  # pragma: no cover
    """Adds what the gradients of the largest values (U, F) give to those of rows, in one piece, and weights (F, W D).

    Args:
        gradient: (U, F).
        starts: (U, F) where the window of each begins among all numbers of the rows.
        weight: (F, W D).
        pieces: (R D,) the rows.
        of_pieces: likewise their gradients, are added to.
        of_weight: is added to.
    """
    size = weight.shape[1]
    for word in range(len(gradient)):
        for feature in range(gradient.shape[1]):
            start = starts[word, feature]
            share, stop = gradient[word, feature], start + size
            _add(share, pieces[start:stop], of_weight[feature])
            _add(share, weight[feature], of_pieces[start:stop])


@unit_wise
def _add(share: np.float32, given: Floats, to: Floats) -> None:  # pragma: no cover
    for place in range(len(given)):
        to[place] += share * given[place]
