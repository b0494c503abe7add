"""SpanTags: the relation of tags and spans as arrays.

Shapes in this module: B sentences, T tokens in the longest one, K tags, N spans.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tagger.data import schemes
from tagger.data.word_cache import Ids


class SpanTags:
    """The spans of tags.

    Args:
        names: (K,) the tags, O among them.

    Attributes:
        types: span types, sorted; a type's id is its index.
        outside_id: the id of O.
        members: (types, K) booleans, the tags that a token within a span of a type may have.
        joins: (K, K) booleans, whether two consecutive tags are in one span.
    """

    def __init__(self, names: Sequence[str]) -> None:
        prefixes, types = zip(*map(schemes.split, names), strict=True)
        self.types = sorted(set(types) - {""})
        self.outside_id = names.index(schemes.OUTSIDE)
        ids = {name: number for number, name in enumerate(self.types)}
        self._type_ids = np.array([ids.get(name, -1) for name in types])  # (K,), −1 for O
        self.members = torch.from_numpy(np.arange(len(self.types))[:, None] == self._type_ids)
        distinct = sorted(set(prefixes))
        table = np.array([[_are_joined(first, second) for second in distinct] for first in distinct])
        prefix_ids = np.array([distinct.index(prefix) for prefix in prefixes])
        has_same_type = self._type_ids[:, None] == self._type_ids
        self.joins = torch.from_numpy(table[prefix_ids[:, None], prefix_ids] & has_same_type)

    def find_spans(self, paths: Ids, lengths: Ids) -> Ids:
        """Returns the spans (N, 4) of paths (B, T): sentence, first token, end token (exclusive) and type."""
        in_span = np.zeros((len(paths), paths.shape[1] + 1), bool)
        in_span[:, :-1] = (self._type_ids[paths] >= 0) & (np.arange(paths.shape[1]) < lengths[:, None])
        is_joined = np.zeros_like(in_span)  # to the previous token
        is_joined[:, 1:-1] = self.joins.numpy()[paths[:, :-1], paths[:, 1:]] & in_span[:, 1:-1] & in_span[:, :-2]
        sentence, first = (in_span & ~is_joined).nonzero()
        _, last = (in_span[:, :-1] & ~is_joined[:, 1:]).nonzero()
        return np.stack([sentence, first, last + 1, self._type_ids[paths[sentence, first]]], 1)


def _are_joined(first: str, second: str) -> bool:
    """Returns whether consecutive tags of two prefixes and one type are in one span."""
    if schemes.OUTSIDE in (first, second):
        return False
    return len(schemes.tags_to_spans((f"{first}-a", f"{second}-a"))) == 1
