"""How tags spell spans, as numbers.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tagger.data import schemes
from tagger.data.memory import Ids


class SpanTags:
    """What each tag and each two tags in a row say of spans.

    Args:
        names: (K) the tags, O among them.

    Attributes:
        types: of spans, in the order of their numbers.
        outside: the id of O.
        members: (types, K) booleans, the tags that a token within a span of a type can have.
        joins: (K, K) booleans, which two tags in a row belong to one span.
    """

    def __init__(self, names: Sequence[str]) -> None:
        kinds = [schemes.split(name)[1] for name in names]
        self.types = sorted(set(kinds) - {""})
        self.outside = names.index(schemes.OUTSIDE)
        self._kinds = np.array([self.types.index(kind) if kind else -1 for kind in kinds])
        self.members = torch.from_numpy(np.arange(len(self.types))[:, None] == self._kinds)
        inside = [name for name in names if name != schemes.OUTSIDE]
        joined = {(a, b) for a in inside for b in inside if len(schemes.spans_of((a, b))) == 1}
        self.joins = torch.tensor([[(a, b) in joined for b in names] for a in names])

    def spans(self, paths: Ids, lengths: Ids) -> Ids:
        """Returns (N, 4) the spans that paths (B, T) spell: sentence, first token, the token after the last, type."""
        held = np.zeros((len(paths), paths.shape[1] + 1), bool)
        held[:, :-1] = (self._kinds[paths] >= 0) & (np.arange(paths.shape[1]) < lengths[:, None])
        joined = np.zeros_like(held)
        joined[:, 1:-1] = self.joins.numpy()[paths[:, :-1], paths[:, 1:]] & held[:, 1:-1] & held[:, :-2]
        sentence, first = (held & ~joined).nonzero()
        _, last = (held[:, :-1] & ~joined[:, 1:]).nonzero()
        return np.stack([sentence, first, last + 1, self._kinds[paths[sentence, first]]], 1)
