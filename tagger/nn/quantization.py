"""Compression of frozen word vectors: a step per row, or product quantization.

Shapes in this module: V vectors of D numbers; S parts of a vector, of 4 numbers each.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PART_SIZE, CENTROIDS = 4, 256
_SAMPLE = 20_000  # vectors from which centroids are computed
_ITERATIONS = 25


def quantize_rows(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns vectors (V, D) as int8 multiples of one step per row, and the steps (V, 1)."""
    steps = vectors.float().abs().amax(1, keepdim=True) / 127
    return (vectors / steps.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8), steps


def quantize_products(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the codes and centroids of vectors (V, D) by product quantization (Jégou et al., 2011).

    Each part of 4 numbers is replaced by the nearest of 256 centroids, which k-means computes from a sample of the
    vectors. The last part is filled with zeros.

    Returns:
        codes: (V, S) the number of the centroid of each part, as uint8.
        centroids: (S, 256, 4) the centroids in float32.
    """
    count = -(-vectors.shape[1] // PART_SIZE)
    codes = vectors.new_zeros(len(vectors), count, dtype=torch.uint8)
    centroids = vectors.new_zeros(count, CENTROIDS, PART_SIZE, dtype=torch.float32)
    if vectors.is_meta or not len(vectors):
        return codes, centroids
    from sklearn.cluster import KMeans  # takes a second to import, and few models need it
    from threadpoolctl import threadpool_limits

    padded = F.pad(vectors.float(), (0, count * PART_SIZE - vectors.shape[1]))
    parts = padded.view(len(vectors), count, PART_SIZE).transpose(0, 1).contiguous().numpy()
    sample = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    with threadpool_limits(1):  # the sums of several threads differ between runs
        for number, part in enumerate(parts):
            chosen = part[sample]
            clusters = min(CENTROIDS, len(np.unique(chosen, axis=0)))
            means = KMeans(clusters, n_init=1, max_iter=_ITERATIONS, random_state=0).fit(chosen)
            codes[:, number] = torch.from_numpy(means.predict(part))
            centroids[number, :clusters] = torch.from_numpy(means.cluster_centers_)
    return codes, centroids


def decode_products(codes: Tensor, centroids: Tensor, dim: int) -> Tensor:
    """Returns the vectors (V, D) in float32 of codes (V, S), given the centroids (S, 256, 4) and D."""
    first = torch.arange(len(centroids), device=codes.device) * CENTROIDS
    parts = F.embedding(codes.long() + first, centroids.float().view(-1, PART_SIZE))
    return parts.flatten(1)[:, :dim]
