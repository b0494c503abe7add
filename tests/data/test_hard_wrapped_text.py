"""Hard-wrapped text: a newline within a paragraph is white space, and offsets stay those of the file."""

import json
import re
from io import BytesIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats import text as texts
from tagger.data.sentence import Record, Reject
from tagger.errors import TruncatedError
from tests.data.test_text import ANY, NEWS
from tests.robustness.runs import SCALE

WRAPPED = "Ada\nLovelace lived in\r\n  London. She\nwrote.\n \nAlan\ncame"


def records(data: str, input_format: str = "text") -> list[Record]:
    source = BytesIO(data.encode())
    return list(reader.read_records(source, input_format=input_format, layout=Layout(), name="a", newline="space"))  # type: ignore[arg-type]


def tokens(found: list[Record]) -> list[list[str]]:
    return [list(sentence.tokens) for record in found for sentence in record.sentences]


def unwrapped(data: str) -> list[str]:
    """Returns each paragraph on one line."""
    paragraphs: list[list[str]] = [[]]
    for line in data.split("\n"):
        if line.strip():
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    return [re.sub(r"\s*\n\s*", " ", "\n".join(lines)) for lines in paragraphs]


def test_a_sentence_goes_on_across_lines_and_ends_at_a_blank_line() -> None:
    found = records(WRAPPED)
    assert tokens(found) == [
        ["Ada", "Lovelace", "lived", "in", "London", "."], ["She", "wrote", "."], ["Alan", "came"]
    ]  # fmt: skip
    assert [sentence.line for record in found for sentence in record.sentences] == [1, 3, 6]
    assert [(record.line, record.start) for record in found] == [(1, 0), (6, WRAPPED.index("Alan"))]


@settings(max_examples=200 * SCALE, deadline=None)
@given(st.lists(ANY, max_size=5).map("\n".join))
@example(WRAPPED)
@example(NEWS)
@example('\ufeff\n\na.\n"b" \n.c')
def test_tokens_are_those_of_the_unwrapped_text_and_offsets_those_of_the_file(data: str) -> None:
    found = records(data)
    for record in found:
        for sentence in record.sentences:
            for token, (start, end) in zip(sentence.tokens, sentence.offsets, strict=True):
                assert data[start:end] == token
            assert sentence.line == 1 + data.count("\n", 0, sentence.offsets[0][0])
    split = texts.splitter("en")
    body = data.removeprefix("\ufeff")
    assert tokens(found) == [list(one.tokens) for paragraph in unwrapped(body) for one in split(paragraph)]


@settings(max_examples=50 * SCALE, deadline=None)
@given(ANY)
@example(WRAPPED)
def test_a_text_in_json_is_split_like_a_file(data: str) -> None:
    in_json = records(json.dumps({"text": data}) + "\n", "jsonl")
    for sentence in in_json[0].sentences:
        assert [data[start:end] for start, end in sentence.offsets] == list(sentence.tokens)
    assert tokens(in_json) == tokens(records(data)) or data.startswith("\ufeff")


def test_an_unreadable_line_ends_a_paragraph_and_offsets_go_on() -> None:
    rejects: list[Reject] = []
    data = b"Ada\nran\n\xffx\nand\nfell\n"
    found = list(
        reader.read_records(BytesIO(data), input_format="text", layout=Layout(), newline="space", reject=rejects.append)
    )
    assert tokens(found) == [["Ada", "ran"], ["and", "fell"]]
    assert [reject.line for reject in rejects] == [3]
    assert found[1].start == 11


def test_a_paragraph_that_a_fault_truncates_is_not_read() -> None:
    def lines():  # type: ignore[no-untyped-def]
        yield from [(1, "Ada\n"), (2, "\n"), (3, "She\n")]
        raise TruncatedError("a: input/output error", 3)

    found = texts.read(lines(), "a", "en", newline="space")
    assert next(found).sentences[0].tokens == ("Ada",)
    with pytest.raises(TruncatedError, match=r"read up to line 2$"):
        next(found)


def test_a_paragraph_without_end_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_MAX_PIECE", 100)
    found = records("word word\n" * 100)
    assert max(len(record.text or "") for record in found) <= 120
    assert sum(len(one) for one in tokens(found)) == 200
