"""Random sets of spans, from text to tokens to tags and back: each is there, or its change is reported."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.choices import Misaligned, options
from tagger.data import reader, schemes
from tagger.data.formats import Layout
from tagger.data.formats.reading import AnnotationOptions
from tagger.data.notices import Notices
from tagger.data.sentence import Sentence
from tagger.errors import DataError
from tests.robustness.runs import SCALE

SETS = 25
"""Span sets per text: 100 texts, 25 sets and 4 policies are 10,000."""
TEXT = st.lists(
    st.sampled_from(
        ["Ada", "Quill-Venn", "don't", "No.", " ", "  ", "\n", "\n\n", ".", "!", "(", "😀", "é", "नम", "1,5"]
    ),
    min_size=1,
    max_size=14,
).map("".join)
REPORT = re.compile(r"a\.jsonl:(\d+): (\w) (-?\d+)-(-?\d+) .* (is dropped|becomes (\d+)-(\d+)|joins)", re.DOTALL)

Annotated = tuple[int, int, str]


def draw_spans(source: random.Random, length: int) -> list[Annotated]:
    """Returns up to six spans; most are in range and short, some are the same."""
    spans = []
    for _ in range(source.randrange(7)):
        start = source.randint(-1, length)
        spans.append((start, start + source.choice([0, 1, 2, 3, 4, 5, 8, 20, -1]), source.choice("AB")))
    return spans + source.sample(spans, min(len(spans), source.randrange(2)))


def read(text: str, sets: Sequence[list[Annotated]], policy: Misaligned) -> tuple[list[list[Sentence]], Notices]:
    """Returns the sentences of a record for each set, and the notices."""
    rows = "".join(json.dumps({"text": text, "label": spans}) + "\n" for spans in sets)
    notices = Notices()
    sentences = reader.read_sentences(
        BytesIO(rows.encode()),
        input_format="jsonl",
        layout=Layout(),
        tagged=True,
        name="a.jsonl",
        annotations=AnnotationOptions(misaligned=policy),
        notices=notices,
    )
    records: list[list[Sentence]] = [[] for _ in sets]
    for sentence in sentences:
        records[sentence.document].append(sentence)
    return records, notices


def spans_of(sentences: Sequence[Sentence]) -> list[Annotated]:
    return [
        (sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1], span.type)
        for sentence in sentences
        for span in schemes.tags_to_spans(sentence.tags)
    ]


def expect(
    spans: Sequence[Annotated], offsets: Sequence[tuple[int, int]], length: int, policy: Misaligned
) -> tuple[list[Annotated], Counter[Annotated], Counter[Annotated]]:
    """Returns the spans that remain; how often each is dropped, and changed. Compares each span with each token."""
    candidates: list[tuple[list[int], Annotated]] = []
    dropped: Counter[Annotated] = Counter()
    changed: Counter[Annotated] = Counter()
    for number, span in enumerate(spans):
        start, end, _ = span
        touched = [index for index, (first, last) in enumerate(offsets) if first < end and start < last]
        covered = [index for index in touched if start <= offsets[index][0] and offsets[index][1] <= end]
        chosen = touched if policy == "expand" or touched == covered else covered if policy == "contract" else []
        if not 0 <= start < end <= length or span in spans[:number] or not chosen:
            dropped[span] += 1
            continue
        candidates.append((chosen, span))
        changed[span] += (offsets[chosen[0]][0], offsets[chosen[-1]][1]) != (start, end)
    candidates.sort(key=lambda each: (-len(each[0]), each[1][0] - each[1][1], each[1][0]))
    used: set[int] = set()
    remaining = []
    for chosen, span in candidates:
        if used.intersection(chosen):
            dropped[span] += 1
        else:
            used.update(chosen)
            remaining.append((offsets[chosen[0]][0], offsets[chosen[-1]][1], span[2]))
    return sorted(remaining), dropped, +changed


@pytest.mark.parametrize("policy", options(Misaligned))
def test_no_span_is_lost_or_changed_without_a_report(policy: Misaligned) -> None:
    @settings(max_examples=100 * SCALE, deadline=None)
    @given(TEXT.filter(str.strip), st.integers(0, 1 << 32))
    def run(text: str, seed: int) -> None:
        source = random.Random(seed)
        sets = [draw_spans(source, len(text)) for _ in range(SETS)]
        tokens = [pair for sentence in read(text, [[]], policy)[0][0] for pair in sentence.offsets]
        assert "".join(text[start:end] for start, end in tokens) == "".join(text.split())
        if policy == "stop":
            sets = refuse_faults(text, sets, tokens)
        compare(text, sets, tokens, policy)

    run()


def meets_tokens(start: int, end: int, tokens: Sequence[tuple[int, int]], length: int) -> bool:
    """Returns whether a span is within the text, and each token that it touches is within the span."""
    touched = [(first, last) for first, last in tokens if first < end and start < last]
    return 0 <= start < end <= length and bool(touched) and start <= touched[0][0] and touched[-1][1] <= end


def refuse_faults(
    text: str, sets: Sequence[list[Annotated]], tokens: Sequence[tuple[int, int]]
) -> list[list[Annotated]]:
    """Returns the sets without a fault; each other one must be refused."""
    valid = []
    for spans in sets:
        if all(meets_tokens(start, end, tokens, len(text)) for start, end, _ in spans):
            valid.append(spans)
            continue
        with pytest.raises(DataError, match=r"a\.jsonl:1: found .*; correct it, or choose another `misaligned`"):
            read(text, [spans], "stop")
    return valid


def compare(text: str, sets: Sequence[list[Annotated]], tokens: Sequence[tuple[int, int]], policy: Misaligned) -> None:
    records, notices = read(text, sets, policy)
    reports: dict[tuple[str, int], Counter[Annotated]] = {}
    for message in (message for messages in notices.messages.values() for message in messages):
        match = REPORT.match(message)
        assert match
        line, kind, start, end, action = match.groups()[:5]
        span = (int(start), int(end), kind)
        reports.setdefault((action.split()[0], int(line)), Counter())[span] += 1
    for number, (spans, sentences) in enumerate(zip(sets, records, strict=True), 1):
        remaining, dropped, changed = expect(spans, tokens, len(text), policy)
        assert spans_of(sentences) == remaining
        assert [pair for sentence in sentences for pair in sentence.offsets] == list(tokens)
        assert reports.get(("is", number), Counter()) == dropped
        assert reports.get(("becomes", number), Counter()) == changed
        assert len(remaining) + dropped.total() == len(spans)
