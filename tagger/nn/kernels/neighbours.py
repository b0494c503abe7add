"""Means of the vectors that stand beside words.

Shapes in this module: V words that stand beside others, D width of their vectors, O places, R words that are at them.
"""

import numpy as np
import torch
from torch import Tensor

from tagger.nn.kernels.compiling import compiled, unit_wise
from tagger.nn.kernels.products import Floats, Ids, add


def means(vectors: Tensor, beside: Tensor, counts: Tensor) -> Tensor:
    """Returns (R, 2D) the mean of what stands before each word, and of what stands after it.

    Args:
        vectors: (V, D), which need no gradient.
        beside: (O, 2) which of them stand before and after each place, the places of a word one after another.
        counts: (R,) places of each word, at least 1.
    """
    if vectors.device.type == "cpu" and vectors.dtype == torch.float32:
        found = np.empty((len(counts), 2 * vectors.shape[1]), np.float32)
        _mean(vectors.numpy(), beside.numpy(), counts.numpy(), found)
        return torch.from_numpy(found)
    of_place = torch.repeat_interleave(counts, output_size=len(beside))
    sums = vectors.new_zeros(len(counts), 2 * vectors.shape[1])
    return sums.index_add(0, of_place, vectors[beside].flatten(1)) / counts[:, None]


@compiled()
def _mean(vectors: Floats, beside: Ids, counts: Ids, out: Floats) -> None:  # pragma: no cover
    width, place = vectors.shape[1], 0
    out[:] = 0
    for word, count in enumerate(counts):
        for _ in range(count):
            add(out[word][:width], vectors[beside[place, 0]])
            add(out[word][width:], vectors[beside[place, 1]])
            place += 1
        _scale(out[word], np.float32(1 / count))


@unit_wise
def _scale(numbers: Floats, factor: np.float32) -> None:  # pragma: no cover
    for unit in range(len(numbers)):
        numbers[unit] *= factor
