"""Windows over documents: each token is read once, with context that is next to it in the same document."""

import math
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagger.transformer.windows import Layout, Subwords, Windows, lay_out

PREFIX, SUFFIX = (1,), (2, 3)
FIRST_ID = 10  # each subword of a test has an id of its own, in text order


class Document:
    """Sentences of tokens with numbered subwords: `passages[p][s]` holds the counts of subwords of a sentence."""

    def __init__(self, passages: list[list[list[int]]]) -> None:
        sentences = [counts for passage in passages for counts in passage]
        self.counts = [count for sentence in sentences for count in sentence]
        self.lengths = [len(sentence) for sentence in sentences]
        self.passages = [number for number, passage in enumerate(passages) for _ in passage]
        total = sum(self.counts)
        self.subwords = Subwords(np.arange(total) + FIRST_ID, np.array(self.counts, np.int64))
        self.token_bounds = list(pairwise(accumulate(self.counts, initial=FIRST_ID)))
        self.sentence_bounds = list(pairwise(accumulate(map(sum, sentences), initial=FIRST_ID)))
        self.passage_bounds = list(
            pairwise(accumulate((sum(map(sum, passage)) for passage in passages), initial=FIRST_ID))
        )

    def lay_out(self, layout: Layout) -> Windows:
        return lay_out(self.subwords, self.lengths, self.passages, layout)


sentences = st.lists(st.integers(1, 5), min_size=1, max_size=30)
documents = st.lists(st.lists(sentences, min_size=1, max_size=5), min_size=1, max_size=3).map(Document)
layouts = st.builds(
    lambda size, context, is_shared: Layout(size, context, is_shared, PREFIX, SUFFIX),
    st.integers(4, 40),
    st.integers(0, 20),
    st.booleans(),
)


def bounds_of(ids: list[int]) -> tuple[int, int]:
    """Returns the bounds of consecutive ids."""
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    return ids[0], ids[0] + len(ids)


@given(documents, layouts)
def test_each_token_is_read_in_one_window_by_its_own_subwords(document: Document, layout: Layout) -> None:
    windows = document.lay_out(layout)
    for token, (start, stop) in enumerate(document.token_bounds):
        ids = windows.ids[windows.windows[token]].tolist()
        read = ids[windows.first[token] : windows.last[token] + 1]
        # A token of more subwords than fit is read up to the end of the window.
        assert read == list(range(start, min(stop, start + len(read))))
        assert len(read) == stop - start or windows.last[token] == windows.cores[windows.windows[token], 1] - 1
        assert len(read) >= 1
        low, high = windows.cores[windows.windows[token]]
        assert low <= windows.first[token] <= windows.last[token] < high


@given(documents, st.integers(40, 60), st.integers(0, 20), st.booleans())
def test_tokens_up_to_an_eighth_of_a_window_are_read_whole(
    document: Document, capacity: int, context: int, is_shared: bool
) -> None:
    windows = document.lay_out(Layout(capacity + 3, context, is_shared, PREFIX, SUFFIX))
    assert (windows.last - windows.first + 1).tolist() == document.counts


long_sentences = st.lists(st.integers(1, 6), min_size=12, max_size=60)


@given(long_sentences, st.integers(8, 30))
@example([4, 4, 4, 4, 4, 5, 5, 4, 4], 24)
def test_a_token_of_a_long_sentence_is_read_where_its_nearer_edge_is_farthest(counts: list[int], capacity: int) -> None:
    """The ends of the sentence are no edges: no window has more of the sentence there."""
    document = Document([[counts]])
    windows = document.lay_out(Layout(capacity + 3, 0, False, PREFIX, SUFFIX))
    cores = [bounds_of(ids[slice(*core)].tolist()) for ids, core in zip(windows.ids, windows.cores, strict=True)]
    first, last = document.sentence_bounds[0]

    def margin(token: tuple[int, int], core: tuple[int, int]) -> float:
        left = token[0] - core[0] if core[0] > first else math.inf
        return min(left, core[1] - token[1] if core[1] < last else math.inf)

    for number, token in enumerate(document.token_bounds):
        best = max(margin(token, core) for core in cores)
        assert best < 0 or margin(token, cores[windows.windows[number]]) == best


@given(documents, layouts)
def test_windows_are_slices_of_a_passage_within_the_limit(document: Document, layout: Layout) -> None:
    windows = document.lay_out(layout)
    for window, ids in enumerate(windows.ids):
        assert len(ids) <= layout.max_subwords
        assert tuple(ids[: len(PREFIX)]) == PREFIX
        assert tuple(ids[-len(SUFFIX) :]) == SUFFIX
        start, stop = bounds_of(ids[len(PREFIX) : -len(SUFFIX)].tolist())
        low, high = bounds_of(ids[slice(*windows.cores[window])].tolist())
        first, last = next(bounds for bounds in document.passage_bounds if bounds[0] <= low < bounds[1])
        assert first <= start <= low < high <= stop <= last
        left, right = low - start, stop - high
        wanted = min(layout.context, low - first), min(layout.context, last - high)
        assert left <= wanted[0]
        assert right <= wanted[1]
        if len(ids) < layout.max_subwords:
            assert (left, right) == wanted


@given(documents, layouts)
def test_cores_are_whole_sentences_unless_a_sentence_is_too_long(document: Document, layout: Layout) -> None:
    windows = document.lay_out(layout)
    cores = [bounds_of(ids[slice(*core)].tolist()) for ids, core in zip(windows.ids, windows.cores, strict=True)]
    fitting = [bounds for bounds in document.sentence_bounds if bounds[1] - bounds[0] <= layout.capacity]
    if not layout.is_shared or not layout.context:
        assert set(fitting) <= set(cores)
        assert len(cores) >= len(document.sentence_bounds)
    starts, ends = ({bounds[side] for bounds in document.sentence_bounds} for side in (0, 1))
    for low, high in cores:
        inside = next((bounds for bounds in document.sentence_bounds if bounds[0] <= low and high <= bounds[1]), None)
        assert (low in starts and high in ends) or (inside and inside not in fitting)
    covered = [subword for low, high in cores for subword in range(low, high)]
    assert {start for start, _ in document.token_bounds} <= set(covered)
    if len(fitting) == len(document.sentence_bounds):
        assert len(covered) == len(set(covered))


@given(documents, st.integers(150, 200), st.integers(1, 70))
def test_shared_windows_are_as_few_as_a_greedy_division_allows(document: Document, capacity: int, context: int) -> None:
    layout, limit = Layout(capacity + 3, context, True, PREFIX, SUFFIX), capacity - 2 * context
    count, size, passage = 0, 0, -1
    for number, (start, stop) in zip(document.passages, document.sentence_bounds, strict=True):
        if number != passage or size + stop - start > limit:
            count, size, passage = count + 1, 0, number
        size += stop - start
    assert len(document.lay_out(layout).ids) == count


@settings(max_examples=50)
@given(documents, layouts, st.data())
def test_a_selection_holds_the_same_windows_of_its_tokens(
    document: Document, layout: Layout, data: st.DataObject
) -> None:
    windows = document.lay_out(layout)
    tokens = data.draw(st.lists(st.integers(0, len(document.counts) - 1), min_size=1, unique=True))
    selection = windows.select(np.array(tokens, np.int64))
    assert len(selection.ids) == len({windows.windows[token] for token in tokens})
    for row, token in enumerate(tokens):
        before, after = windows.windows[token], selection.windows[row]
        assert selection.ids[after].tolist() == windows.ids[before].tolist()
        assert selection.cores[after].tolist() == windows.cores[before].tolist()
        assert (selection.first[row], selection.last[row]) == (windows.first[token], windows.last[token])


def test_windows_become_padded_tensors() -> None:
    tensors = Document([[[1, 2], [1]]]).lay_out(Layout(9, 0, False, PREFIX, SUFFIX)).to_tensors(7)
    assert tensors.ids.tolist() == [[1, 10, 11, 12, 2, 3], [1, 13, 2, 3, 7, 7]]
    assert tensors.lengths.tolist() == [6, 4]
    assert tensors.cores.tolist() == [[1, 4], [1, 2]]
    assert tensors.windows.tolist() == [0, 0, 1]
    assert (tensors.first.tolist(), tensors.last.tolist()) == ([1, 2, 1], [1, 3, 1])
    assert all(tensor.dtype == torch.int64 for tensor in tensors)


@pytest.mark.parametrize(("context", "left", "right"), [(3, 3, 3), (100, 5, 6), (0, 0, 0)])
def test_context_is_taken_from_both_sides(context: int, left: int, right: int) -> None:
    windows = Document([[[1] * 20, [1] * 5, [1] * 20]]).lay_out(Layout(19, context, False, PREFIX, SUFFIX))
    core = windows.cores[windows.windows[20]]
    assert core[0] - len(PREFIX) == left
    assert len(windows.ids[windows.windows[20]]) - len(SUFFIX) - core[1] == right
