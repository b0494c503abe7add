"""A convolution over words' characters and the largest value of each feature, with gradients, on a CPU.

Words lie one after another, so that nothing is spent on padding; and the gradient of a largest value reaches a single
window, so that nothing is spent on the others.

Shapes in this module: U words, N characters of all of them, D width of a character, W characters in a window, F
features, R rows: the characters with W // 2 rows of 0 before each word and after the last.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor
from torch.autograd.function import once_differentiable

from tagger.nn.compiling import compiled, unit_wise
from tagger.nn.products import PANEL, Floats, Ids, multiply_into, packed
from tagger.nn.threads import both


def largest(inputs: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor, *, threads: int = 1) -> Tensor:
    """Returns (U, F) the largest value of each feature over the windows around a word's characters.

    Args:
        inputs: (N, D) the characters, one word after another, in float32 on a CPU.
        lengths: (U,) characters in each word, at least 1.
        weight: (F, D, W), W odd.
        bias: (F,).
        threads: how many may be busy at once; the result is the same.
    """
    return _Largest.apply(inputs, lengths, threads, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


class _Largest(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, inputs: Tensor, lengths: Tensor, threads: int, weight: Tensor, bias: Tensor) -> Tensor:
        features, width, kernel = weight.shape
        margin, counts = kernel // 2, lengths.numpy()
        starts = np.cumsum(counts + margin) - counts
        places = np.arange(len(inputs)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        rows = np.zeros((len(inputs) + margin * (len(counts) + 1), width), np.float32)
        rows[places] = inputs.detach().numpy()
        of_windows = np.ascontiguousarray(weight.detach().transpose(1, 2).reshape(features, -1).numpy())
        panels, halves = packed(of_windows.T), _halves(counts)
        found, chosen = np.empty((len(counts), features), np.float32), np.empty((len(counts), features), np.int64)
        firsts = starts - margin  # of each word's windows: a window lies in one piece, from its first character's row

        def choose(half: slice) -> None:
            if not len(counts[half]):
                return
            begin, end = firsts[half][0], firsts[half][-1] + counts[half][-1]
            windows = as_strided(rows[begin:], (end - begin, kernel * width), rows.strides)
            values = np.empty((end - begin, len(panels) * PANEL), np.float32)
            multiply_into(windows, len(windows), panels, values)
            _choose(values, firsts[half] - begin, counts[half], found[half], chosen[half])
            chosen[half] += begin

        both(*(partial(choose, half) for half in halves), threads=threads)
        context.kept = rows, places, of_windows, chosen, weight.shape, halves, threads
        return torch.from_numpy(found) + bias.detach()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, places, of_windows, chosen, (features, width, kernel), halves, threads = context.kept
        of_rows, of_weights = np.zeros_like(rows), [np.zeros_like(of_windows) for _ in halves]
        pieces, given = (rows.reshape(-1), of_rows.reshape(-1)), gradient.contiguous().numpy()
        # Both threads add to the rows of 0 between the halves; what they leave there is never read.
        work = [
            partial(_give_back, given[half], chosen[half] * width, of_windows, *pieces, of_weight)
            for half, of_weight in zip(halves, of_weights, strict=True)
        ]
        both(*work, threads=threads)
        by_character = torch.from_numpy(sum(of_weights)).view(features, kernel, width)
        return torch.from_numpy(of_rows[places]), None, None, by_character.transpose(1, 2), gradient.sum(0)


def _halves(counts: Ids) -> tuple[slice, slice]:
    """Returns the words (U,) in two parts of about as many characters; either may be empty."""
    ends = np.cumsum(counts)
    middle = int(np.searchsorted(ends, ends[-1] / 2)) + 1
    return slice(middle), slice(middle, None)


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
