"""Alignment of annotated spans of characters with tokens. Every change to a span is reported."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from tagger.choices import Misaligned
from tagger.data.sentence import Span

EMPTY = "empty spans"
OUT_OF_RANGE = "spans out of range"
WITHOUT_TOKEN = "spans without a token"
PADDED = "spans with white space at an edge"
MISALIGNED = "misaligned spans"
DUPLICATED = "duplicated spans"
OVERLAPPING = "overlapping spans"
ACROSS_SENTENCES = "spans across sentences"
RESOLVED = frozenset((PADDED, DUPLICATED, OVERLAPPING))
"""Kinds with one evident correction; the policy `stop` does not stop at them."""


class CharSpan(NamedTuple):
    """An annotated span: its type, and the offsets of its first character and after its last one, in code points."""

    type: str
    start: int
    end: int


class Change(NamedTuple):
    """What happened to a span: the kind of its fault, and the action that was taken."""

    kind: str
    span: CharSpan
    action: str


class Alignment(NamedTuple):
    """Spans over tokens, sorted, without overlap; and the changes that led from the annotated spans to them."""

    spans: list[Span]
    changes: list[Change]


class _Candidate(NamedTuple):
    """An annotated span and the tokens [first, last) that it becomes."""

    span: CharSpan
    first: int
    last: int


def align(spans: Iterable[CharSpan], offsets: Sequence[tuple[int, int]], length: int, policy: Misaligned) -> Alignment:
    """Returns the spans over tokens that spans of characters become.

    A span that is empty, out of range or without a token is dropped. White space at its edges is cut off. A span that
    ends within a token is misaligned: it is expanded to whole tokens, contracted to whole tokens, or dropped. Of
    overlapping spans the longest remains, in tokens, then in characters; of equally long ones the earlier.

    >>> align([CharSpan("LOC", 3, 9)], [(0, 2), (3, 6), (7, 11)], 11, "expand").spans
    [Span(type='LOC', start=1, end=3, probability=None)]

    Args:
        spans: the annotated spans, in any order.
        offsets: the start and end of each token, in order; white space alone lies between tokens.
        length: the length of the text.
        policy: what becomes of misaligned spans; `stop` drops them here, and the caller raises an error.
    """
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    candidates: list[_Candidate] = []
    changes: list[Change] = []
    seen: set[CharSpan] = set()
    for span in spans:
        if fault := _find_fault(span, length, seen):
            changes.append(Change(fault, span, "is dropped"))
            continue
        seen.add(span)
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first >= last:
            changes.append(Change(WITHOUT_TOKEN, span, "is dropped"))
        elif starts[first] == span.start and ends[last - 1] == span.end:
            candidates.append(_Candidate(span, first, last))
        elif starts[first] >= span.start and ends[last - 1] <= span.end:
            candidates.append(_Candidate(span, first, last))
            changes.append(Change(PADDED, span, f"becomes {starts[first]}-{ends[last - 1]}"))
        else:
            first, last = _choose_tokens(span, starts, ends, policy)
            if first < last:
                candidates.append(_Candidate(span, first, last))
            reason = "; it has no whole token" if policy == "contract" else ""
            action = f"becomes {starts[first]}-{ends[last - 1]}" if first < last else f"is dropped{reason}"
            changes.append(Change(MISALIGNED, span, action))
    return Alignment(_resolve_overlaps(candidates, changes), changes)


def _find_fault(span: CharSpan, length: int, seen: set[CharSpan]) -> str | None:
    if span.start < 0 or span.end > length or span.start > span.end:
        return OUT_OF_RANGE
    if span.start == span.end:
        return EMPTY
    return DUPLICATED if span in seen else None


def _choose_tokens(span: CharSpan, starts: list[int], ends: list[int], policy: Misaligned) -> tuple[int, int]:
    """Returns the tokens [first, last) of a misaligned span; none if it is dropped."""
    if policy == "expand":
        return bisect_right(ends, span.start), bisect_left(starts, span.end)
    if policy == "contract":
        return bisect_left(starts, span.start), bisect_right(ends, span.end)
    return 0, 0


def _resolve_overlaps(candidates: list[_Candidate], changes: list[Change]) -> list[Span]:
    """Returns the spans that remain, sorted, and appends a change for each span that overlaps a longer candidate."""
    ordered = sorted(candidates, key=lambda candidate: candidate.first)
    if any(left.last > right.first for left, right in pairwise(ordered)):
        ordered = _select_longest(candidates, changes)
    return [Span(candidate.span.type, candidate.first, candidate.last) for candidate in ordered]


def _select_longest(candidates: list[_Candidate], changes: list[Change]) -> list[_Candidate]:
    by_length = sorted(
        candidates,
        key=lambda candidate: (
            candidate.first - candidate.last,
            candidate.span.start - candidate.span.end,
            candidate.span.start,
        ),
    )
    selected: list[_Candidate] = []  # sorted by first token
    firsts: list[int] = []
    for candidate in by_length:
        index = bisect_left(firsts, candidate.last)  # of the first span after this candidate
        winner = selected[index - 1] if index else None
        if winner is not None and winner.last > candidate.first:
            changes.append(Change(OVERLAPPING, candidate.span, f"is dropped; it overlaps {describe(winner.span)}"))
            continue
        firsts.insert(index, candidate.first)
        selected.insert(index, candidate)
    return selected


def describe(span: CharSpan) -> str:
    """Returns the type and the offsets of a span.

    >>> describe(CharSpan("PER", 0, 4))
    'PER 0-4'
    """
    return f"{span.type} {span.start}-{span.end}"


def join_sentences(lengths: Sequence[int], spans: Iterable[Span]) -> tuple[list[int], list[Span]]:
    """Returns the sentences that spans leave, and the spans that cross the end of a sentence.

    Sentences that a span crosses are joined, so that no span is lost.

    >>> join_sentences([2, 3, 1], [Span("ORG", 1, 3)])
    ([2, 1], [Span(type='ORG', start=1, end=3, probability=None)])

    Args:
        lengths: the number of tokens of each sentence.
        spans: spans over the tokens of all sentences.

    Returns:
        The number of sentences that become one, for each new sentence; and the spans.
    """
    starts, total = [], 0
    for length in lengths:
        starts.append(total)
        total += length
    joined = [False] * len(starts)  # whether a sentence is joined to the one before
    crossing = []
    for span in spans:
        first, last = bisect_right(starts, span.start) - 1, bisect_left(starts, span.end)
        if last - first > 1:
            crossing.append(span)
            joined[first + 1 : last] = [True] * (last - first - 1)
    counts: list[int] = []
    for is_joined in joined:
        if is_joined:
            counts[-1] += 1
        else:
            counts.append(1)
    return counts, crossing
