"""How tags spell spans, as numbers.

Shapes in this module: B sentences, T tokens in the longest one, K tags.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tagger.data import schemes
from tagger.data.word_cache import Ids


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
        ids = {kind: number for number, kind in enumerate(self.types)}
        self._kinds = np.array([ids.get(kind, -1) for kind in kinds])
        self.members = torch.from_numpy(np.arange(len(self.types))[:, None] == self._kinds)
        # Two tags in a row belong to one span if their types are the same and their prefixes say so.
        prefixes = [schemes.split(name)[0] for name in names]
        distinct = sorted(set(prefixes))
        table = np.array([[_joined(first, second) for second in distinct] for first in distinct])
        numbers = np.array([distinct.index(prefix) for prefix in prefixes])
        same = self._kinds[:, None] == self._kinds
        self.joins = torch.from_numpy(table[numbers[:, None], numbers] & same)

    def spans(self, paths: Ids, lengths: Ids) -> Ids:
        """Returns (N, 4) the spans that paths (B, T) spell: sentence, first token, the token after the last, type."""
        held = np.zeros((len(paths), paths.shape[1] + 1), bool)
        held[:, :-1] = (self._kinds[paths] >= 0) & (np.arange(paths.shape[1]) < lengths[:, None])
        joined = np.zeros_like(held)
        joined[:, 1:-1] = self.joins.numpy()[paths[:, :-1], paths[:, 1:]] & held[:, 1:-1] & held[:, :-2]
        sentence, first = (held & ~joined).nonzero()
        _, last = (held[:, :-1] & ~joined[:, 1:]).nonzero()
        return np.stack([sentence, first, last + 1, self._kinds[paths[sentence, first]]], 1)


def _joined(first: str, second: str) -> bool:
    """Returns whether tags of two prefixes and one type make one span."""
    if schemes.OUTSIDE in (first, second):
        return False
    return len(schemes.spans_of((f"{first}-a", f"{second}-a"))) == 1
