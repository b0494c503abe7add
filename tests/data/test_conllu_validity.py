"""CoNLL-U that is written from other formats obeys the rules of Universal Dependencies for files and comments.

The rules are those of levels 1 and 2 of the validator. Those on trees and parts of speech are omitted: a tagger writes
neither heads nor relations.
"""

import json
import re
import unicodedata
from io import BytesIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.writer import make_sink
from tests.data.tagged import tagged
from tests.data.test_text import ANY, NEWS
from tests.robustness.runs import SCALE

Rows = list[list[str]]


def written(data: str, input_format: str = "text", name: str = "a.txt") -> str:
    layout = Layout(tag="misc:NER")
    options = WriteOptions(input_format=input_format, layout=layout, name=name, probabilities=True)  # type: ignore[arg-type]
    sink = make_sink("conllu", options)
    source = BytesIO(data.encode("utf-8", "surrogatepass"))
    records = reader.read_records(source, input_format=input_format, layout=layout, name=name)  # type: ignore[arg-type]
    return (sink.begin() + sink.write(tagged(records)) + sink.end()).decode()


def sentences_of(text: str) -> list[tuple[list[str], Rows]]:
    """Returns comments and rows of each sentence, after the checks on lines and columns."""
    if not text:
        return []
    assert "\r" not in text
    assert text.endswith("\n\n"), "the last sentence does not end with a blank line"
    sentences = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        lines = block.split("\n")
        assert all(lines), "there is more than one blank line"
        comments = [line for line in lines if line.startswith("#")]
        assert lines[: len(comments)] == comments, "a comment follows a word"
        rows = [line.split("\t") for line in lines[len(comments) :]]
        assert rows, "there are comments without a sentence"
        for row in rows:
            check_columns(row)
        assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        sentences.append((comments, rows))
    return sentences


def check_columns(row: list[str]) -> None:
    assert len(row) == 10
    for column, value in enumerate(row):
        assert value, "a column is empty"
        assert value == value.strip(), "white space surrounds a value"
        assert column == 1 or not re.search(r"\s", value)
        assert "  " not in value
        assert unicodedata.is_normalized("NFC", value)
    keys = [item.split("=")[0] for item in row[9].split("|")]
    assert len(set(keys)) == len(keys)
    assert re.fullmatch(r"_|[^=|]+=[^|]+(\|[^=|]+=[^|]+)*", row[9])


def validate(text: str) -> list[tuple[list[str], Rows]]:
    """Checks the rules on comments as well; returns the sentences."""
    ids, touches = set(), False
    sentences = sentences_of(text)
    for comments, rows in sentences:
        (sent_id,) = (match[1] for line in comments if (match := re.fullmatch(r"# sent_id = (\S+)", line)))
        assert "/" not in sent_id
        assert sent_id not in ids
        ids.add(sent_id)
        starts = [line for line in comments if re.match(r"#\s*newdoc(\s|$)", line)]
        assert len(starts) <= 1
        assert not (starts and touches), "a document starts after SpaceAfter=No"
        (rest,) = (line.removeprefix("# text = ") for line in comments if line.startswith("# text = "))
        assert rest == rest.strip()
        assert rest
        for row in rows:
            assert rest.startswith(row[1])
            rest, touches = rest.removeprefix(row[1]), "SpaceAfter=No" in row[9].split("|")
            assert touches or not rest or rest[0].isspace()
            assert not (touches and rest[:1].isspace())
            rest = rest.lstrip()
        assert not rest
    return sentences


def plain_text(sentences: list[tuple[list[str], Rows]]) -> str:
    """Returns the text that words and SpaceAfter give."""
    words = [(row[1], "SpaceAfter=No" in row[9].split("|")) for _, rows in sentences for row in rows]
    return "".join(word if touches else f"{word} " for word, touches in words).strip()


@settings(max_examples=200 * SCALE, deadline=None)
@given(st.lists(ANY, max_size=4).map("".join).map(lambda text: unicodedata.normalize("NFC", text)))
@example(NEWS)
@example("")
@example("\n \n")
@example("\ufeff\n(\u201cA.\u201dB!)C?D\tE  F\n\nG\xa0H")
def test_conllu_from_raw_text_is_valid_and_holds_the_text(data: str) -> None:
    sentences = validate(written(data))
    assert plain_text(sentences) == " ".join(data.removeprefix("\ufeff").split())
    assert sum("# newdoc id = a.txt" in comments for comments, _ in sentences) == bool(sentences)
    assert not sentences or sentences[0][0][0] == "# newdoc id = a.txt"


@settings(max_examples=50 * SCALE, deadline=None)
@given(st.lists(ANY.map(lambda text: unicodedata.normalize("NFC", text)), max_size=4))
def test_conllu_from_json_texts_is_valid_with_a_document_for_each_text_with_words(texts: list[str]) -> None:
    data = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    sentences = validate(written(data, "jsonl"))
    starts = [line for comments, _ in sentences for line in comments if line.startswith("# newdoc")]
    assert starts == [f"# newdoc id = {number}" for number, text in enumerate(texts) if text.strip()]
    assert plain_text(sentences) == " ".join(" ".join(texts).split())


def test_the_format_is_as_in_the_guidelines() -> None:
    assert written("In Oslo.\n", name="in/a b.txt").splitlines() == [
        "# newdoc id = in/a b.txt",
        "# sent_id = in:a_b.txt-0",
        "# text = In Oslo.",
        "1\tIn" + 7 * "\t_" + "\t_|NER=B-X|Prob=0.500000".replace("_|", ""),
        "2\tOslo" + 7 * "\t_" + "\tSpaceAfter=No|NER=I-X|Prob=0.500000",
        "3\t." + 7 * "\t_" + "\tProb=0.500000",
        "",
    ]


@pytest.mark.parametrize(
    ("input_format", "data"),
    [
        ("lines", "a b .\n\n\nc\n"),
        ("columns", "a O\nb O\n\n\nc O\n"),
        ("jsonl", '{"tokens": [["a", "b"], ["c"]]}\n{"tokens": []}\n{"tokens": ["d e"]}\n'),
    ],
)
def test_conllu_from_tokens_is_valid(input_format: str, data: str) -> None:
    sentences = validate(written(data, input_format))
    assert len(sentences) >= 2
    assert not any("SpaceAfter" in row[9] for _, rows in sentences for row in rows)


def test_a_sentence_that_touches_the_next_says_so() -> None:
    data = json.dumps({"text": "\u201cNo.\u201dShe left. Why"})
    sentences = validate(written(data, "jsonl"))
    assert [[row[1] for row in rows] for _, rows in sentences] == [
        ["\u201c", "No", "."],
        ["\u201dShe", "left", "."],
        ["Why"],
    ]
    assert ["SpaceAfter=No" in rows[-1][9] for _, rows in sentences] == [True, False, False]
