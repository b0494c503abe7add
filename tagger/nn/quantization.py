"""Compression of frozen word vectors: a step per row, or product quantization.

Shapes in this module: V vectors of D numbers; S parts of a vector, of 4 numbers each.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

PART_SIZE, CENTROIDS = 4, 256
_SAMPLE = 20_000  # vectors from which centroids are computed
_ITERATIONS = 10


def quantize_rows(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns vectors (V, D) as int8 multiples of one step per row, and the steps (V, 1)."""
    steps = vectors.float().abs().amax(1, keepdim=True) / 127
    return (vectors / steps.clamp(min=torch.finfo(torch.float32).tiny)).round().to(torch.int8), steps


def quantize_products(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the codes and centroids of vectors (V, D) by product quantization (Jégou et al., 2011).

    Number d of a vector belongs to part d mod S. After a projection on principal components, each part thus has numbers
    of large and of small variance. Each part is replaced by the nearest of 256 centroids, which k-means computes from a
    sample of the vectors.

    Returns:
        codes: (V, S) the centroid of each part, as uint8.
        centroids: (4, S, 256) the numbers of the centroids in float32.
    """
    count = -(-vectors.shape[1] // PART_SIZE)
    codes = vectors.new_zeros(len(vectors), count, dtype=torch.uint8)
    centroids = vectors.new_zeros(PART_SIZE, count, CENTROIDS, dtype=torch.float32)
    if vectors.is_meta or not len(vectors):
        return codes, centroids
    from sklearn.cluster import KMeans  # takes a second to import, and few models need it
    from threadpoolctl import threadpool_limits

    padded = F.pad(vectors.float(), (0, count * PART_SIZE - vectors.shape[1]))
    parts = padded.view(len(vectors), PART_SIZE, count).permute(2, 0, 1).contiguous().numpy()
    sample = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    with threadpool_limits(1):  # the sums of several threads differ between runs
        for number, part in enumerate(parts):
            chosen = part[sample]
            clusters = min(CENTROIDS, len(np.unique(chosen, axis=0)))
            means = KMeans(clusters, n_init=1, max_iter=_ITERATIONS, random_state=0).fit(chosen)
            codes[:, number] = torch.from_numpy(means.predict(part))
            centroids[:, number, :clusters] = torch.from_numpy(means.cluster_centers_).T
    return codes, centroids


def decode_products(codes: Tensor, centroids: Tensor, dim: int) -> Tensor:
    """Returns the vectors (V, D) in float32 of codes (V, S), given the centroids (4, S, 256) and D."""
    first = torch.arange(centroids.shape[0] * centroids.shape[1], device=codes.device) * CENTROIDS
    return centroids.float().flatten()[codes.long().repeat(1, PART_SIZE) + first][:, :dim]
