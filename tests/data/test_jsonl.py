import json
import random
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.data import reader
from tagger.data.formats import Layout, jsonl
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Reject
from tagger.data.writer import make_sink
from tagger.errors import DataError
from tests.data.tagged import tagged
from tests.robustness.runs import SCALE


def read(data: bytes | str, **options: object) -> list[Record]:
    data = data.encode() if isinstance(data, str) else data
    return list(reader.read_records(BytesIO(data), input_format="jsonl", layout=Layout(), name="a.jsonl", **options))


def rows(data: bytes | str, **options: object) -> list[dict]:
    """Returns the rows that are written of what was read and tagged."""
    writer = make_sink("jsonl", WriteOptions(input_format="jsonl", layout=Layout(), **options))
    records = tagged(read(data))
    return [json.loads(line) for line in writer.write(records).splitlines()]


def line(**fields: object) -> str:
    return json.dumps(fields) + "\n"


def test_a_text_is_split_and_has_offsets():
    (record,) = read(line(text="Ada met\nBob. She 😀 left.", n=1))
    assert [sentence.tokens for sentence in record.sentences] == [
        ("Ada", "met"),
        ("Bob", "."),
        ("She", "😀", "left", "."),
    ]
    assert [record.text[start:end] for sentence in record.sentences for start, end in sentence.offsets] == [
        token for sentence in record.sentences for token in sentence.tokens
    ]
    assert record.start == 0


def test_tokens_are_one_sentence_or_a_list_of_sentences():
    one, several, none = read(line(tokens=["a", "b c"]) + line(tokens=[["a"], ["b", "c"]]) + line(tokens=[]))
    assert [sentence.tokens for sentence in one.sentences] == [("a", "b c")]
    assert [sentence.tokens for sentence in several.sentences] == [("a",), ("b", "c")]
    assert none.sentences == ()
    assert one.text is None


def test_tokens_take_precedence_over_a_text_which_is_carried():
    (row,) = rows(line(text="a-b", tokens=["a", "-", "b"]))
    assert (row["tokens"], row["text"]) == (["a", "-", "b"], "a-b")
    assert "offsets" not in row


def test_a_row_has_the_input_fields_then_the_document_and_the_tagging():
    (row,) = rows(line(z=[1, {"y": None}], text="Ada left. Bob", id="é"))
    assert list(row) == ["z", "text", "id", "document", "tokens", "tags", "spans", "offsets", "sentences"]
    assert row == {
        "z": [1, {"y": None}],
        "text": "Ada left. Bob",
        "id": "é",
        "document": "é",
        "tokens": ["Ada", "left", ".", "Bob"],
        "tags": ["B-X", "I-X", "O", "B-X"],
        "spans": [
            {"type": "X", "start": 0, "end": 8, "text": "Ada left"},
            {"type": "X", "start": 10, "end": 13, "text": "Bob"},
        ],
        "offsets": [[0, 3], [4, 8], [8, 9], [10, 13]],
        "sentences": [[0, 3], [3, 4]],
    }


def test_spans_of_a_row_without_text_are_token_indices():
    (row,) = rows(line(tokens=[["a"], ["b", "c"]]))
    assert row["spans"] == [
        {"type": "X", "start": 0, "end": 1, "text": "a"},
        {"type": "X", "start": 1, "end": 3, "text": "b c"},
    ]
    assert row["sentences"] == [[0, 1], [1, 3]]


def test_probabilities_and_alternatives_are_written_on_request():
    (row,) = rows(line(tokens=[["a"], ["b", "c"]]), probabilities=True, alternatives=True)
    assert row["probabilities"] == [0.5, 0.5, 0.5]
    assert [span["probability"] for span in row["spans"]] == [0.25, 0.25]
    assert row["alternatives"] == [
        [{"tags": ["B-X"], "probability": 0.75}],
        [{"tags": ["B-X", "I-X"], "probability": 0.75}],
    ]


@pytest.mark.parametrize(
    ("fields", "document"),
    [
        ({"document": "d", "id": "i"}, "d"),
        ({"document": 7}, 7),
        ({"id": 9}, 9),
        ({"id": None}, 1),
        ({"id": True}, 1),
        ({"id": 1.5}, 1),
        ({"id": ["a"]}, 1),
        ({"document": None}, 1),
        ({"document": None, "id": "i"}, "i"),
        ({"document": {"title": "t"}, "id": 3}, {"title": "t"}),
        ({}, 1),
    ],
)
def test_the_document_is_the_rows_field_or_its_number(fields: dict, document: object):
    found = rows(line(text="x") + line(text="a", **fields))[1]
    assert found["document"] == document
    assert found.get("id") == fields.get("id")


def test_a_field_that_the_output_replaces_is_logged_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    found = rows(line(text="a", tags=["old"], spans=1, offsets=2, probabilities=3) * 2)
    assert [(row["tags"], row["offsets"], row["probabilities"]) for row in found] == [(["B-X"], [[0, 1]], 3)] * 2
    assert [message for message in caplog.messages if "replaced" in message] == [
        "the input's fields offsets, spans, tags are replaced by those of the output"
    ]


def test_every_row_becomes_one_row_and_blank_lines_none():
    found = rows('\ufeff{"tokens": []}\r\n\n{"text": ""}\n  \n{"text": " \\n"}')
    assert [(row["tokens"], row["tags"], row["spans"], row["document"]) for row in found] == [
        ([], [], [], 0),
        ([], [], [], 2),
        ([], [], [], 4),
    ]
    assert rows("") == rows("\n\n") == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON: Expecting property name"),
        ('{"text": "a"} x', "not JSON: Extra data at character 15"),
        ('{"text": "a\u0001"}', "not JSON: Invalid control character at character 12"),
        ("[1]", "expected an object in braces, found [1]"),
        ("3", "expected an object in braces, found 3"),
        ("{}", "expected a field 'text' or 'tokens', found no field"),
        ('{"a": 1, "b": null}', "expected a field 'text' or 'tokens', found 'a', 'b'"),
        ('{"a": 1, "text": null}', "the field 'text' is null"),
        ('{"tokens": null, "text": null}', "the fields 'tokens' and 'text' are null"),
        ('{"text": 5}', "expected a string as 'text', found 5"),
        ('{"tokens": "a b"}', "expected a list as 'tokens', found \"a b\""),
        ('{"tokens": ["a", ""]}', 'expected a string that is not empty as token 2, found ""'),
        ('{"tokens": ["a", 3]}', "expected a string that is not empty as token 2, found 3"),
        ('{"tokens": [["a"], "b"]}', 'expected a list of tokens for each sentence, found "b"'),
        ('{"tokens": ["b", ["a"]]}', "expected a string that is not empty as token 2"),
        ('{"text": "a", "text": "b"}', "the key 'text' occurs twice"),
        ('{"text": "a", "x": {"y": 1, "y": 2}}', "the key 'y' occurs twice"),
        ('{"text": "a", "x": 1e999}', "the number 1e999 is too large"),
        ('{"text": "a", "x": [NaN]}', "NaN is not a JSON number"),
        ('{"text": "a", "x": {"y": -Infinity}}', "-Infinity is not a JSON number"),
        ('{"text": "a", "x": Infinity}', "Infinity is not a JSON number"),
        ('{"text": "a", "x": ' + "9" * 5000 + "}", "the number 99999999999999999999… of 5000 digits is too large"),
        ('{"text": "a", "x": ' + "[" * 101 + "]" * 101 + "}", "nested over 100 levels deep"),
        ('{"text": "a", "x": ' + "[" * 90_000 + "]" * 90_000 + "}", "nested over 100 levels deep"),
        ('{"a":' * 90_000 + "1" + "}" * 90_000, "nested over 100 levels deep"),
    ],
)
def test_a_line_that_is_not_a_row_is_reported_with_its_line_or_rejected(bad: str, message: str):
    data = line(text="x") + "\n" + bad + "\n" + line(text="y")
    with pytest.raises(DataError) as caught:
        read(data)
    assert str(caught.value).startswith(f"a.jsonl:3: {message}")
    rejects: list[Reject] = []
    assert [record.text for record in read(data, reject=rejects.append)] == ["x", "y"]
    assert [(reject.fault, reject.line, reject.raw) for reject in rejects] == [(str(caught.value), 3, bad + "\n")]


def test_only_the_line_that_is_not_utf8_is_rejected():
    rejects: list[Reject] = []
    found = read(b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}\n', reject=rejects.append)
    assert [record.text for record in found] == ["a", "b"]
    assert [reject.line for reject in rejects] == [2]
    assert rejects[0].fault.startswith("a.jsonl:2: byte 11 is 0xff")


@pytest.mark.parametrize(
    "value",
    ["1" * 4000, "-0.0", "0.1", "1e+300", '"\\ud800"', '"\\u0000\\u2028"', "[" * 90 + "]" * 90],
)
def test_an_unusual_value_is_carried_unchanged(value: str):
    data = f'{{"x": {value}, "text": "a"}}\n'
    written = make_sink("jsonl", WriteOptions(input_format="jsonl", layout=Layout())).write(tagged(read(data)))
    assert written.startswith(f'{{"x": {value}, "text": "a", "document": 0'.replace("\\u2028", "\u2028").encode())


def test_a_lone_surrogate_in_a_text_is_preserved_and_counts_as_a_character():
    (row,) = rows('{"text": "😀\\ud83d b\\udc00c"}\n')
    assert "".join(row["tokens"]) == "😀\ud83db\udc00c"
    assert [row["text"][start:end] for start, end in row["offsets"]] == row["tokens"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OURS = ("document", "text", "tokens", "tags", "spans", "offsets", "sentences")


@given(st.dictionaries(st.text().filter(lambda name: name not in OURS), JSON, max_size=4), st.text(max_size=30))
@settings(max_examples=100 * SCALE, deadline=None)
def test_any_fields_are_carried_and_every_token_is_a_slice_of_the_text(fields: dict, text: str):
    (row,) = rows(line(**fields, text=text))
    assert {name: row[name] for name in fields} == fields
    assert [text[start:end] for start, end in row["offsets"]] == row["tokens"]
    assert len(row["tags"]) == len(row["tokens"])
    assert all(text[span["start"] : span["end"]] == span["text"] for span in row["spans"])


def test_random_bytes_are_rows_or_data_errors():
    draw, good = random.Random(7), 0
    pieces = [
        b'{"text": "',
        b'"}',
        b'"tokens": [',
        b"]",
        b"}",
        b"{",
        b"\n",
        b'"',
        b"\\ud83d",
        b"a",
        b"\xff",
        b"1e9",
        b",",
    ]
    for _ in range(500 * SCALE):
        data = b'{"text": "a b"}' if draw.random() < 0.1 else b"".join(draw.choices(pieces, k=draw.randint(1, 8)))
        rejects: list[Reject] = []
        found = read(data, reject=rejects.append)
        good += len(found)
        assert len(found) + len(rejects) == sum(bool(one.strip()) for one in data.split(b"\n"))
    assert good


@pytest.mark.parametrize("change", ["\r\n", "mark", "end"])
def test_line_ends_and_a_byte_order_mark_do_not_change_the_records(change: str):
    data = line(text="a\u2028b\u0085c", x="\u2028") + line(tokens=["d\u00a0e"])
    changed = {"\r\n": data.replace("\n", "\r\n"), "mark": "\ufeff" + data, "end": data.removesuffix("\n")}[change]
    assert rows(changed) == rows(data)


def strict(text: bytes | str) -> object:
    """Returns what a parser reads that knows no other numbers than JSON has."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_not_finite_are_strings_at_any_depth():
    nan, inf = float("nan"), float("inf")
    values = {"a": nan, "b": [inf, {"c": (-inf, 1.5, "NaN")}], "d": [[("k", nan)]], "e": "\ud800"}
    expected = {"a": "NaN", "b": ["Infinity", {"c": ["-Infinity", 1.5, "NaN"]}], "d": [[["k", "NaN"]]], "e": "\ud800"}
    assert strict(jsonl.dump(values)) == expected
    row = Record((), fields={"x": values})
    (line,) = make_sink("jsonl", WriteOptions(input_format="jsonl", layout=Layout())).write([row]).splitlines()
    assert strict(line)["x"] == expected


def test_values_that_json_does_not_have_are_written_as_strings():
    import datetime
    import decimal

    given = {"a": datetime.date(2020, 1, 2), "b": decimal.Decimal("1.10"), "c": b"\0\xff"}
    assert json.loads(jsonl.dump(given)) == {"a": "2020-01-02", "b": "1.10", "c": "AP8="}
