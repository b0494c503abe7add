"""Partial annotation: which tags a token may have where its own tag, or some types of spans, were not annotated.

Two things may be missing. The tag of a token may be unknown (`schemes.UNKNOWN`): it may be any tag. A sentence may be
annotated for some types only (`Sentence.annotated_types`): outside its spans, tokens may be O or in spans of any other
type. Known tags next to an unknown one keep their meaning in their scheme: in IOBES, `E-PER` ends its span; in IOB2,
`B-PER` before an unknown tag may or may not be continued; in IOB1, `I-PER` after an unknown tag may also begin a span.

The sets of tags are exact together with the transitions of the scheme: the valid sequences of tags from these sets are
those that encode a set of spans which agrees with the annotation.

Shapes in this module: T tokens, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tagger.choices import Scheme
from tagger.data import schemes
from tagger.data.schemes import UNKNOWN
from tagger.data.sentence import Sentence
from tagger.data.vocab import Vocab

Gold = NDArray[np.int64] | NDArray[np.bool_] | NDArray[np.float32]
"""(T,) ids of gold tags; or (T, K) whether a token may have a tag, or the log of the tag's weight."""


@dataclass(slots=True)
class _Bounds:
    """What a known tag says: its type, empty for O, and whether the token starts and ends a span, None if unknown."""

    kind: str
    starts: bool | None
    ends: bool | None


def is_partial(sentence: Sentence) -> bool:
    """Returns whether a sentence has unknown tags, or is annotated for some types only."""
    return sentence.annotated_types is not None or UNKNOWN in sentence.tags


class GoldEncoder:
    """Encodes the gold tags of sentences: as ids, or as the tags that each token may have.

    Args:
        tags: the tags of a model.
        scheme: their scheme, IOB2 or IOBES; None for plain tags.
        source: the scheme of sentences with unknown tags; the tags of all others are in `scheme`.

    Attributes:
        tag_ids: the id of each tag, as in a sentence without unknown tags that is annotated for all types.
    """

    def __init__(self, tags: Vocab, scheme: Scheme | None, source: Scheme | None = None) -> None:
        self._tags, self._scheme, self._source = tags, scheme, source
        self.tag_ids = tags.ids
        split = [schemes.split(tag) if scheme else ("", "") for tag in tags.items]
        self._prefixes = np.array([prefix for prefix, _ in split])
        self._types = np.array([kind for _, kind in split])

    def encode(self, sentence: Sentence) -> Gold:
        """Returns (T,) ids if all tags are known, else (T, K) whether a token may have a tag."""
        tags = sentence.tags
        if not is_partial(sentence):
            return np.array([self._tags[tag] for tag in tags], np.int64)
        if self._scheme is None:
            return np.array([[tag in (name, UNKNOWN) for name in self._tags.items] for tag in tags])
        bounds = _find_bounds(tags, (self._source or self._scheme) if UNKNOWN in tags else self._scheme)
        _free_contradictions(bounds)
        outside = self._types == ""
        if sentence.annotated_types is not None:
            outside = outside | ~np.isin(self._types, [*sentence.annotated_types, ""])
        rows = np.stack([self._allowed(each, outside) for each in bounds])
        for position, (left, right) in enumerate(pairwise(bounds), 1):
            if left and left.kind and (right is None or not right.kind):
                continues = (self._types == left.kind) & np.isin(self._prefixes, ["I", "E"])
                if left.ends:
                    rows[position] &= ~continues
                elif left.ends is False:
                    rows[position] &= continues
        return rows.argmax(1) if (rows.sum(1) == 1).all() else rows

    def _allowed(self, bounds: _Bounds | None, outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns (K,) whether a token may have a tag, whatever its neighbours are."""
        if bounds is None:
            return np.ones(len(self._tags), np.bool_)
        if not bounds.kind:
            return outside
        allowed: NDArray[np.bool_] = self._types == bounds.kind
        if bounds.starts is not None:
            allowed = allowed & (np.isin(self._prefixes, ["B", "S"]) == bounds.starts)
        if bounds.ends is not None and self._scheme == "IOBES":
            allowed = allowed & (np.isin(self._prefixes, ["E", "S"]) == bounds.ends)
        return allowed


def uncertain_tokens(tags: Sequence[str], scheme: Scheme) -> set[int]:
    """Returns the positions of unknown tags, and of spans whose bounds depend on one.

    >>> sorted(uncertain_tokens(["B-PER", "", "O", "B-LOC", "O", ""], "IOB2"))
    [0, 1, 5]
    """
    bounds = _find_bounds(tags, scheme)
    uncertain = {position for position, each in enumerate(bounds) if each is None}
    for span in schemes.tags_to_spans(tags):
        first, last = bounds[span.start], bounds[span.end - 1]
        opens = span.start - 1 in uncertain and first and first.starts is not True
        closes = span.end in uncertain and last and last.ends is not True
        if opens or closes:
            uncertain.update(range(span.start, span.end))
    return uncertain


def _find_bounds(tags: Sequence[str], scheme: Scheme) -> list[_Bounds | None]:
    """Returns the bounds of each known tag; invalid neighbours are read by the rules of conlleval."""
    bounds: list[_Bounds | None] = [_read(tag, scheme) if tag != UNKNOWN else None for tag in tags]
    edge = _Bounds("", None, None)
    for left, right in pairwise([edge, *bounds, edge]):
        if left and right:
            joined = left.kind == right.kind != "" and right.starts is not True and left.ends is not True
            left.ends = right.starts = not joined
    return bounds


def _read(tag: str, scheme: Scheme) -> _Bounds:
    prefix, kind = schemes.split(tag)
    if not kind:
        return _Bounds("", None, None)
    if scheme == "IOBES":
        return _Bounds(kind, prefix in ("B", "S"), prefix in ("E", "S"))
    inside = False if scheme == "IOB2" else None
    return _Bounds(kind, True if prefix in ("B", "S") else inside, None)


def _free_contradictions(bounds: Sequence[_Bounds | None]) -> None:
    """Lets spans of two types end and start freely at the one unknown token between them that would belong to both."""
    for left, middle, right in zip(bounds, bounds[1:], bounds[2:], strict=False):
        if middle is not None or not left or not right or left.kind == right.kind:
            continue
        if left.ends is False and right.starts is False:
            left.ends = right.starts = None
