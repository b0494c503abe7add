"""Distillation: a model's marginals weigh the completions of partial annotation.

Shapes in this module: T tokens, K tags of the new model.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tagger.data import schemes
from tagger.data.batching import TransformerProvider
from tagger.data.sentence import Sentence
from tagger.data.vocab import Vocab
from tagger.model import TaggerModel

_BATCH = 32
_SMALLEST = 1e-4
"""The least weight, so that no completion is excluded."""


@torch.no_grad()
def weigh_tags(
    teacher: TaggerModel, tags: Vocab, sentences: Sequence[Sentence], transformer: TransformerProvider | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yields (T, K) for each sentence: the log of the teacher's marginal probability of each tag at each token.

    A tag that the teacher lacks has the weight of O, which the teacher gives to its tokens. `transformer` is needed if
    the teacher has transformer features.
    """
    teacher.network.eval()
    fallback = teacher.tags.ids.get(schemes.OUTSIDE, 0)
    columns = torch.tensor([teacher.tags.ids.get(tag, fallback) for tag in tags.items])
    encoded = teacher.encode(sentences, transformer=transformer)
    for start in range(0, len(sentences), _BATCH):
        positions = range(start, min(start + _BATCH, len(sentences)))
        batch = encoded.batch(positions)
        marginals = teacher.network.head.chain(teacher.network(batch), batch.lengths).marginals()
        weights = marginals[:, :, columns].clamp_min(_SMALLEST).log().numpy()
        yield from (rows[: encoded.lengths[position]] for position, rows in zip(positions, weights, strict=True))
