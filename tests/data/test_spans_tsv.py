from io import BytesIO

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Sentence
from tagger.data.writer import make_sink
from tests.data.tagged import tagged
from tests.robustness.runs import SCALE

_MEANT = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\0": "\0", "\\\\": "\\"}


def unescaped(value: str) -> str:
    found, place = "", 0
    while place < len(value):
        pair = value[place : place + 2]
        found += _MEANT.get(pair, value[place])
        place += 2 if pair in _MEANT else 1
    return found


def table(data: bytes, input_format: str, **options: object) -> list[list[str]]:
    """Returns the rows of the table of spans."""
    writer = make_sink(
        "tsv", WriteOptions(input_format=input_format, layout=Layout(tag=None), name="a b.txt", **options)
    )
    records = tagged(
        reader.read_records(BytesIO(data), input_format=input_format, layout=Layout(tag=None), name="a b.txt")
    )
    text = (writer.begin() + writer.write(records) + writer.end()).decode()
    assert text.endswith("\n")
    return [line.split("\t") for line in text.removesuffix("\n").split("\n")]


def test_a_table_has_a_header_and_one_line_per_span():
    assert table("\ufeffÉ b c\r\nd\r\n".encode(), "text") == [
        ["document", "start", "end", "type", "text", "file", "line"],
        ["a b.txt", "1", "4", "X", "É b", "a b.txt", "1"],
        ["a b.txt", "8", "9", "X", "d", "a b.txt", "2"],
    ]
    assert table(b'{"tokens": [["a"], ["b", "c"]], "id": "i"}\n', "jsonl", probabilities=True) == [
        ["document", "start", "end", "type", "text", "probability", "file", "line"],
        ["i", "0", "1", "X", "a", "0.250000", "a b.txt", "1"],
        ["i", "1", "3", "X", "b c", "0.250000", "a b.txt", "1"],
    ]


def test_spans_of_columns_are_found_by_the_line_of_their_sentence():
    assert table(b"a O\n\nb O\nc O\n", "columns")[1:] == [
        ["0", "0", "1", "X", "a", "a b.txt", "1"],
        ["0", "0", "2", "X", "b c", "a b.txt", "3"],
    ]


def test_an_empty_input_becomes_only_the_header():
    assert (
        table(b"", "lines") == table(b"\n\n", "text") == [["document", "start", "end", "type", "text", "file", "line"]]
    )


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
@example("\t\r\n\0\\", "\\t\r", "\0")
@settings(max_examples=100 * SCALE, deadline=None)
def test_a_span_with_any_characters_is_one_line_from_which_it_is_restored(document: str, token: str, kind: str):
    (record,) = tagged([Record((Sentence((token,)),), document)], kind)
    line = make_sink("tsv", WriteOptions(input_format="jsonl", layout=Layout())).write([record]).decode()
    assert line.count("\n") == 1
    assert not {"\r", "\0"} & set(line)
    assert [unescaped(value) for value in line.removesuffix("\n").split("\t")] == [
        document,
        "0",
        "1",
        kind,
        token,
        "",
        "0",
    ]
