"""Tokens, tags and ids of any characters: every output can be read again and says the same, escaped as documented."""

import html
import json
import os
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Alternative, Record, Sentence, Span
from tagger.data.writer import make_sink
from tests.robustness.runs import SCALE

PIECES = [
    *"ab1_|=#\"'<>&\\ \t\n\r\0\x1b\x0b\x1c\x7f\x85\xa0\xad\u200b\u2028\u2029\u202e\u2066\ufeff\u3000é😀",
    "\ud800",
    "\udcff",
    "-DOCSTART-",
    "# newdoc id = x",
    "# text = y",
    "1-2",
    "<script>",
    "[/b]",
    "O",
]
# JSON joins two surrogates that make a pair.
WORD = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(
    lambda pieces: "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
TAG = st.sampled_from(["O", "B-X", "I-X", "B-a b", "B-x|y=z", "", " ", "\t", "-DOCSTART-", "_", "a\0", "\ufeff"]) | WORD
SENTENCES = st.lists(st.lists(st.tuples(WORD, TAG), min_size=1, max_size=3), min_size=1, max_size=3)
LAYOUT = Layout(tag="xpos")
ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}


def escaped(text: str) -> str:
    """Returns what the documentation of sinks says of a text in a line, read again: character by character."""
    found = ""
    for place, character in enumerate(text):
        if character in ESCAPES:
            found += ESCAPES[character]
        elif re.match("[\ud800-\udfff]", character) or (character == "\ufeff" and not place):
            found += f"\\u{ord(character):04x}"
        else:
            found += character
    return found or "_"


def of_column(token: str) -> str:
    found = escaped(token)
    return f"\\x2d{found[1:]}" if re.match(r"-DOCSTART-(\Z| )", token) else found


def with_tags(records: list[Record], tags: list[list[str]]) -> list[Record]:
    """Returns records tagged: what the sentences with tokens are tagged as, in order."""
    left = iter(tags)
    return [
        replace(record, sentences=tuple(_with(sentence, left) for sentence in record.sentences)) for record in records
    ]


def _with(sentence: Sentence, left: "iter[list[str]]") -> Sentence:
    if not sentence.tokens:
        return sentence
    tags = tuple(next(left))
    assert len(tags) == len(sentence)
    spans = (Span(tags[0], 0, 1, 0.5),)
    numbers = (0.5,) * len(tags)
    return replace(sentence, tags=tags, spans=spans, probabilities=numbers, alternatives=(Alternative(tags, 1.0),))


def source(input_format: str, words: list[list[str]], path: Path) -> Path | BytesIO:
    """Returns a file of a format that holds sentences; words must be such that the format can."""
    if input_format == "parquet":
        pq.write_table(pa.table({"tokens": words}), path)
        return path
    if input_format == "jsonl":
        text = "".join(json.dumps({"tokens": one, "id": one[0]}) + "\n" for one in words)
    elif input_format == "lines":
        text = "".join(" ".join(one) + "\n" for one in words)
    elif input_format == "columns":
        text = "".join("".join(f"{word}\tx\n" for word in one) + "\n" for one in words)
    else:
        rows = [["\t".join([str(n), word, *"________"]) + "\n" for n, word in enumerate(one, 1)] for one in words]
        text = "".join("".join(row) + "\n" for row in rows)
    return BytesIO(text.encode())


def fits(input_format: str, word: str) -> str:
    """Returns a word as one that a format can hold."""
    if input_format == "jsonl":
        return word
    word = re.sub("[\ud800-\udfff]", "", word)
    if input_format != "parquet":
        word = re.sub("[\n\0\t]" if input_format != "lines" else "[\n\0\t\r ]", "", word)
    return "-" if not word.strip() or word[0] == "\ufeff" or word.startswith("-DOCSTART-") else word


@pytest.mark.parametrize("input_format", ["jsonl", "parquet", "lines", "columns", "conllu"])
@given(SENTENCES)
@settings(max_examples=30 * SCALE, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_output_is_read_again_with_the_same_sentences_and_each_word_as_documented(
    tmp_path: Path, input_format: str, content: list[list[tuple[str, str]]]
) -> None:
    words = [[fits(input_format, word) for word, _ in sentence] for sentence in content]
    tags = [[tag for _, tag in sentence] for sentence in content]
    opened = source(input_format, words, tmp_path / "in.parquet")
    records = with_tags(
        list(reader.read_records(opened, input_format=input_format, layout=Layout(0, "xpos"), name="a\n\udcff.x")), tags
    )
    assert [list(sentence.tokens) for record in records for sentence in record.sentences if sentence.tokens] == words

    def written(to: str) -> bytes:
        place = Layout(0, -1) if input_format == to == "columns" else LAYOUT
        into = make_sink(
            to,
            WriteOptions(
                input_format=input_format,
                layout=place,
                name="a\n\udcff.x",
                source=opened if input_format == "parquet" else None,
            ),
        )
        data = into.begin() + into.write(records) + into.end()
        if to == "parquet":
            (tmp_path / "part").write_bytes(data)
            into.finish(tmp_path / "part")
        return data

    again = list(
        reader.read_sentences(BytesIO(written("columns")), input_format="columns", layout=Layout(), tagged=True)
    )
    assert [list(one.tokens) for one in again if one.tokens] == [
        [word if input_format == "columns" else of_column(word) for word in one] for one in words
    ]
    written_tag = of_column if input_format == "columns" else escaped
    expected = [[written_tag(tag) for tag in one] for one in tags]
    assert [list(one.tags) for one in again if one.tokens] == expected

    again = list(reader.read_sentences(BytesIO(written("conllu")), input_format="conllu", layout=LAYOUT, tagged=True))
    assert [list(one.tokens) for one in again if one.tokens] == [
        [word if input_format == "conllu" else escaped(word) for word in one] for one in words
    ]
    assert [list(one.tags) for one in again if one.tokens] == [[escaped(tag) for tag in one] for one in tags]

    data = written("jsonl")
    rows = [json.loads(line, parse_constant=None) for line in data.decode().split("\n")[:-1]]
    assert [(row["tokens"], row["tags"]) for row in rows] == list(zip(words, tags, strict=True))
    again_records = list(reader.read_records(BytesIO(data), input_format="jsonl", layout=Layout()))
    assert [list(sentence.tokens) for record in again_records for sentence in record.sentences] == words

    written("parquet")
    table = pq.ParquetFile(tmp_path / "part").read()
    plain = [[one.encode("utf-8", "backslashreplace").decode() for one in row] for row in words]
    assert table["tokens"].to_pylist() == plain
    found = list(reader.read_records(tmp_path / "part", input_format="parquet", layout=Layout()))
    assert [list(sentence.tokens) for record in found for sentence in record.sentences] == plain

    table_of_spans = written("tsv").decode().split("\n")
    assert table_of_spans.pop() == ""
    assert {line.count("\t") for line in table_of_spans} == {6}
    assert len(table_of_spans) == 1 + len(words)

    page = written("html").decode()
    assert page.count("<mark ") == page.count("</mark>") == len(words)
    assert "<script" not in page
    assert not re.search("[\0-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html.unescape(page))


@given(st.lists(st.tuples(WORD.map(lambda word: re.sub(r"[\s\0\ud800-\udfff]", "", word) or "-"), TAG), min_size=1))
@settings(max_examples=50 * SCALE, deadline=None)
def test_a_tag_in_space_separated_columns_stays_one_field(content: list[tuple[str, str]]) -> None:
    words = [word if word[0] not in "\ufeff-" else "x" for word, _ in content]
    for row, layout in (("{} N O\n", Layout(0, -1)), ("{}\n", Layout(0, None)), ("O {}\n", Layout(1, 0))):
        text = "".join(row.format(word) for word in words) + "\n"
        records = list(reader.read_records(BytesIO(text.encode()), input_format="columns", layout=layout))
        tagged = with_tags(records, [[tag for _, tag in content]])
        data = make_sink("columns", WriteOptions(input_format="columns", layout=layout)).write(tagged)
        place = replace(layout, tag=-1 if layout.tag is None else layout.tag)
        again = list(reader.read_sentences(BytesIO(data), input_format="columns", layout=place, tagged=True))
        assert [list(one.tokens) for one in again] == [words]
        assert [list(one.tags) for one in again] == [[of_column(tag) for _, tag in content]]
        assert {len(line.split(" ")) for line in data.decode().split("\n") if line} == {
            len(row.split(" ")) + (layout.tag is None)
        }


def test_a_row_of_spaces_is_not_read_as_a_blank_line() -> None:
    record = with_tags([Record((Sentence((" ", "a")),))], [[" ", "O"]])
    data = make_sink("columns", WriteOptions(input_format="jsonl", layout=Layout())).write(record)
    layout = Layout(0, 1)
    sentences = reader.read_sentences(BytesIO(data), input_format="columns", layout=layout, tagged=True)
    assert [(each.tokens, each.tags) for each in sentences if each.tokens] == [((" ", "a"), (" ", "O"))]


def test_a_bar_in_a_tag_does_not_start_another_item_of_misc() -> None:
    record = with_tags([Record((Sentence(("a", "b")),))], [["B-x|y=z", "I-x=1"]])
    data = make_sink("conllu", WriteOptions(input_format="jsonl", layout=Layout(tag="misc:NER"))).write(record)
    assert b"NER=B-x\\x7cy=z\n" in data
    (again,) = reader.read_sentences(BytesIO(data), input_format="conllu", layout=Layout(tag="misc:NER"), tagged=True)
    assert again.tags == ("B-x|y=z", "I-x=1")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "\0", "a\nb\n# newdoc id = c", "\ufeffa", "\ud800", "-DOCSTART-", "é"]
)
@pytest.mark.parametrize("to", ["columns", "conllu"])
def test_an_id_of_any_characters_starts_one_document(to: str, name: str) -> None:
    rows = [{"tokens": ["x"], "id": 0}, {"tokens": ["a"], "document": name}, {"tokens": ["b"], "document": "end"}]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    records = list(reader.read_records(BytesIO(data), input_format="jsonl", layout=Layout()))
    into = make_sink(to, WriteOptions(input_format="jsonl", layout=LAYOUT)).write(with_tags(records, [["O"]] * 3))
    again = list(reader.read_records(BytesIO(into), input_format=to, layout=LAYOUT))
    known = [(one.document, *one.sentences[0].tokens) for one in again if one.sentences[0].tokens]
    assert [token for _, token in known] == ["x", "a", "b"]
    assert len({document for document, _ in known}) == 3
    if to == "conllu":
        shown = " ".join(name.split()).replace("\0", "\\0").replace("\ud800", "\\ud800") or "_"
        assert known[1][0] == shown


def test_plain_words_are_written_unchanged() -> None:
    words = ["EU", "don't", "1-2", "#tag", "a\\tb", "x|y=z", "_", "\xa0", "\u2028", "é", "# newdoc id = x", "a\ufeff"]
    record = with_tags([Record((Sentence(tuple(words)),))], [["O"] * len(words)])
    rows = [
        line.split("\t")
        for line in make_sink("columns", WriteOptions(input_format="jsonl", layout=LAYOUT))
        .write(record)
        .decode()
        .split("\n")
    ]
    assert [row[0] for row in rows if len(row) == 2] == words
    rows = [
        line.split("\t")
        for line in make_sink("conllu", WriteOptions(input_format="jsonl", layout=LAYOUT))
        .write(record)
        .decode()
        .split("\n")
    ]
    assert [row[1] for row in rows if len(row) == 10] == words


def test_file_names_with_invalid_utf8_or_line_breaks_are_ids_in_every_format(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\n\xff b.txt")
    (tmp_path / name).write_text("Ada left.\n")
    records = list(reader.read_records(tmp_path / name, input_format="text", layout=Layout(), name=name))
    tagged = with_tags(records, [["O"] * 3])

    def written(to: str) -> str:
        into = make_sink(to, WriteOptions(input_format="text", layout=LAYOUT, name=name))
        return (into.begin() + into.write(tagged)).decode() if to != "parquet" else ""

    assert written("columns").startswith("-DOCSTART- a_\\udcff_b.txt\n\nAda\t")
    assert written("conllu").startswith(
        "# newdoc id = a \\udcff b.txt\n# sent_id = a_\\udcff_b.txt-0\n# text = Ada left.\n1\tAda"
    )
    assert json.loads(written("jsonl"))["document"] == name
    assert written("tsv").split("\n")[1].startswith("a\\n\\udcff b.txt\t")
    assert "<title>a\n\ufffd b.txt</title>" in written("html")
