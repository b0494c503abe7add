"""Mean vectors of the words to the left and to the right of a word.

Shapes in this module: V neighbour words, D size of their vectors, O occurrences, R words that have neighbours.
"""

import numpy as np
import torch
from torch import Tensor

from tagger.nn.kernels.compiling import compiled, elementwise
from tagger.nn.kernels.matmul import Floats, Ids, add_into


def average_vectors(vectors: Tensor, neighbours: Tensor, counts: Tensor) -> Tensor:
    """Returns (R, 2D) the mean vector of each word's left neighbours, then of its right neighbours.

    Args:
        vectors: (V, D), without a gradient.
        neighbours: (O, 2) rows of the left and the right neighbour at each occurrence, word after word.
        counts: (R,) occurrences of each word, at least 1.
    """
    if vectors.device.type == "cpu" and vectors.dtype == torch.float32:
        means = np.empty((len(counts), 2 * vectors.shape[1]), np.float32)
        _average_vectors(vectors.numpy(), neighbours.numpy(), counts.numpy(), means)
        return torch.from_numpy(means)
    words = torch.repeat_interleave(counts, output_size=len(neighbours))
    sums = vectors.new_zeros(len(counts), 2 * vectors.shape[1])
    return sums.index_add(0, words, vectors[neighbours].flatten(1)) / counts[:, None]


@compiled()
def _average_vectors(vectors: Floats, neighbours: Ids, counts: Ids, out: Floats) -> None:  # pragma: no cover
    dim, occurrence = vectors.shape[1], 0
    out[:] = 0
    for word, count in enumerate(counts):
        for _ in range(count):
            add_into(out[word][:dim], vectors[neighbours[occurrence, 0]])
            add_into(out[word][dim:], vectors[neighbours[occurrence, 1]])
            occurrence += 1
        _scale(out[word], np.float32(1 / count))


@elementwise
def _scale(numbers: Floats, factor: np.float32) -> None:  # pragma: no cover
    for unit in range(len(numbers)):
        numbers[unit] *= factor
