import decimal
import json
import os
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tagger.data import reader
from tagger.data.formats import Layout, parquet
from tagger.data.formats.parquet import reading, writing
from tagger.data.formats.reading import ReadOptions
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Reject
from tagger.data.writer import make_sink
from tagger.errors import ConfigError, CorruptError, DataError
from tests.data.tagged import tagged
from tests.robustness.runs import SCALE

EXACT = {
    "when": pa.array([1, None, 2**50], pa.timestamp("ns", tz="Europe/Oslo")),
    "far": pa.array([2**50, 0, None], pa.timestamp("ms")),
    "price": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-3.00")], pa.decimal128(10, 2)),
    "small": pa.array([1, -2, None], pa.int8()),
    "half": pa.array([1.5, None, -0.0], pa.float32()),
    "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
    "bytes": pa.array([b"\0\xff", None, b""], pa.large_binary()),
    "nested": pa.array([{"x": [1, 2]}, None, {"x": None}], pa.struct([("x", pa.list_(pa.int16()))])),
    "pairs": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
}


def file(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path, **options: Any) -> list[Record]:
    return list(reader.read_records(path, input_format="parquet", layout=Layout(), **options))


def written(records: list[Record], tmp_path: Path, *, pools: int = 1, **options: Any) -> pa.Table:
    """Returns what is read back of tagged records that were written in so many pools."""
    writer = make_sink("parquet", WriteOptions(layout=Layout(), **options))
    part = tmp_path / "part"
    records = tagged(records)
    size = -(-len(records) // pools) or 1
    blocks = [records[start : start + size] for start in range(0, len(records), size)]
    part.write_bytes(writer.begin() + b"".join(map(writer.write, blocks)) + writer.end())
    writer.finish(part)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == ["part"]
    return pq.ParquetFile(part).read()


def rows(path: Path) -> list[dict]:
    writer = make_sink("jsonl", WriteOptions(input_format="parquet", layout=Layout()))
    return [json.loads(line) for line in writer.write(tagged(read(path))).splitlines()]


def test_texts_and_lists_of_tokens_are_read_row_by_row(tmp_path: Path):
    text = file(tmp_path / "a.parquet", {"text": ["Ada met Bob. Yes", ""], "id": ["x", None]})
    first, second = read(text)
    assert [one.tokens for one in first.sentences] == [("Ada", "met", "Bob", "."), ("Yes",)]
    assert (first.document, second.document, second.sentences) == ("x", 1, ())
    one, other = read(file(tmp_path / "b.parquet", {"tokens": [["a", "b"], []]}))
    assert ([sentence.tokens for sentence in one.sentences], other.sentences) == ([("a", "b")], ())
    (nested,) = read(file(tmp_path / "c.parquet", {"tokens": [[["a"], ["b"]]]}))
    assert [sentence.tokens for sentence in nested.sentences] == [("a",), ("b",)]


@pytest.mark.parametrize("pools", [1, 2, 3])
def test_further_columns_are_carried_with_types_and_values(tmp_path: Path, pools: int):
    path = file(tmp_path / "a.parquet", {"text": ["a b c", "", "d"], **EXACT})
    given = pq.read_table(path)
    found = written(read(path), tmp_path, pools=pools, input_format="parquet", source=path)
    assert found.column_names == [*given.column_names, "document", "tokens", "tags", "spans", "offsets", "sentences"]
    for name in given.column_names:
        assert found.schema.field(name).type == given.schema.field(name).type
        assert found[name].combine_chunks().equals(given[name].combine_chunks())
    assert found["tokens"].to_pylist() == [["a", "b", "c"], [], ["d"]]
    assert found["tags"].to_pylist() == [["B-X", "I-X", "O"], [], ["B-X"]]
    assert found["spans"].to_pylist()[0] == [{"type": "X", "start": 0, "end": 3, "text": "a b"}]
    assert found["sentences"].to_pylist() == [[[0, 3]], [], [[0, 1]]]


def test_an_output_column_replaces_an_input_column_except_the_document(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    path = file(tmp_path / "a.parquet", {"tags": [1, 2], "document": [7, 8], "tokens": [["a"], ["b"]]})
    found = written(read(path), tmp_path, input_format="parquet", source=path)
    assert found.column_names == ["document", "tokens", "tags", "spans", "offsets", "sentences"]
    assert found["document"].to_pylist() == [7, 8]
    assert found["tags"].to_pylist() == [["B-X"], ["B-X"]]
    assert [message for message in caplog.messages if "replaced" in message] == [
        f"{path}: its columns tags are replaced by those of the output"
    ]


@pytest.mark.parametrize(
    ("documents", "kind", "expected"),
    [
        (["x", None, None], pa.string(), ["x", "b", "2"]),
        ([7, None, None], pa.int64(), [7, None, 2]),  # the second has an id that is no number
        ([None, 8, None], pa.int64(), [0, 8, 2]),
    ],
)
def test_a_row_without_a_document_has_the_same_id_as_in_json_lines(
    tmp_path: Path, documents: list, kind: pa.DataType, expected: list
):
    ids = pa.array([None, "b", None], pa.string())
    columns = {"document": pa.array(documents, kind), "id": ids, "tokens": [["a"]] * 3}
    path = file(tmp_path / "a.parquet", columns)
    assert written(read(path), tmp_path, input_format="parquet", source=path)["document"].to_pylist() == expected
    given = [row["document"] for row in rows(path)]
    assert [one for one in expected if one is not None] == [
        type(one)(other) for one, other in zip(expected, given, strict=True) if one is not None
    ]


def test_values_that_json_does_not_have_become_strings_in_json_lines(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"tokens": [["a"]] * 3, **EXACT})
    found = rows(path)
    assert found[0]["when"].startswith("1970-01-01T01:00:00.000000001")
    assert found[0]["far"]
    assert [row["price"] for row in found] == ["1.10", None, "-3.00"]
    assert [row["bytes"] for row in found] == ["AP8=", None, ""]
    assert [row["nested"] for row in found] == [{"x": [1, 2]}, None, {"x": None}]
    assert [row["pairs"] for row in found] == [[["k", 1]], [], None]
    assert [row["document"] for row in found] == [0, 1, 2]


def test_numbers_that_are_not_finite_are_strings_in_json_lines_and_numbers_in_parquet(tmp_path: Path):
    numbers = pa.array([[float("nan"), 1.0], [float("inf")], [float("-inf"), None]], pa.list_(pa.float64()))
    nested = pa.array([{"x": float("nan")}, None, {"x": 2.0}], pa.struct([("x", pa.float32())]))
    path = file(tmp_path / "a.parquet", {"tokens": [["a"]] * 3, "numbers": numbers, "nested": nested})
    found = rows(path)
    assert [row["numbers"] for row in found] == [["NaN", 1.0], ["Infinity"], ["-Infinity", None]]
    assert [row["nested"] for row in found] == [{"x": "NaN"}, None, {"x": 2.0}]
    kept = written(read(path), tmp_path, input_format="parquet", source=path)
    assert str(kept["numbers"].to_pylist()) == str(numbers.to_pylist())


def test_the_fields_of_json_lines_become_one_column_of_json(tmp_path: Path):
    data = '{"text": "a\\ud800 b", "n": [1, 2.5], "id": 5}\n{"tokens": ["\\udc00"], "document": {"x": 1}}\n'
    data += '{"tokens": [], "document": null}\n'
    records = list(reader.read_records(BytesIO(data.encode()), input_format="jsonl", layout=Layout()))
    found = written(records, tmp_path, input_format="jsonl")
    assert found.column_names == ["fields", "document", "tokens", "tags", "spans", "offsets", "sentences"]
    assert found["fields"].to_pylist() == ['{"text": "a\\ud800 b", "n": [1, 2.5], "id": 5}', "{}", "{}"]
    assert found["document"].to_pylist() == ["5", '{"x": 1}', "2"]
    assert found["tokens"].to_pylist()[1] == ["\\udc00"]
    assert found["offsets"].to_pylist()[1] is None


@pytest.mark.parametrize("input_format", ["lines", "columns", "conllu", "text"])
def test_every_input_format_can_be_written_with_probabilities_and_alternatives(tmp_path: Path, input_format: str):
    data = {"lines": "a b\n\nc\n", "columns": "a O\nb O\n\nc O\n", "conllu": "", "text": "a b\n\nc\n"}[input_format]
    layout = Layout(tag="upos") if input_format == "conllu" else Layout()
    records = list(reader.read_records(BytesIO(data.encode()), input_format=input_format, layout=layout))
    found = written(records, tmp_path, input_format=input_format, probabilities=True, alternatives=True)
    count = {"lines": 3, "columns": 2, "conllu": 0, "text": 2}[input_format]
    assert found.num_rows == count
    if count:
        assert found["probabilities"].to_pylist()[0] == [0.5, 0.5]
        assert found["spans"].to_pylist()[0][0]["probability"] == 0.25
        assert found["alternatives"].to_pylist()[0] == [[{"tags": ["B-X", "I-X"], "probability": 0.75}]]


def test_the_output_of_a_pool_depends_only_on_that_pool(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"text": ["a b c", "", "d"], **EXACT})
    records = tagged(read(path))
    one, other = (
        make_sink("parquet", WriteOptions(input_format="parquet", layout=Layout(), source=path)) for _ in range(2)
    )
    one.write(records[:2])
    assert one.write(records[2:]) == other.write(records[2:])
    assert one.begin() == other.begin()
    assert one.write([]) == b""


def test_an_empty_table_becomes_an_empty_table(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"text": pa.array([], pa.string()), "n": pa.array([], pa.int8())})
    found = written(read(path), tmp_path, input_format="parquet", source=path)
    assert (found.num_rows, found.schema.field("n").type) == (0, pa.int8())


def test_a_large_table_is_read_and_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "_GROUP_BYTES", 1 << 16)
    path = file(tmp_path / "a.parquet", {"tokens": [["a"] * 5] * 5000, "n": range(5000)})
    found = written(read(path), tmp_path, pools=50, input_format="parquet", source=path)
    assert found["n"].to_pylist() == list(range(5000))
    assert pq.ParquetFile(tmp_path / "part").num_row_groups > 3
    batches = {id(record.fields.batch) for record in read(path)}
    assert len(batches) == 5


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"text": ["a", None, "b"]}, "row 2: the field 'text' is null"),
        ({"tokens": [["a"], ["b", ""], ["c"]]}, 'expected a string that is not empty as token 2, found ""'),
        ({"tokens": [["a"], ["b", None], ["c"]]}, "expected a string that is not empty as token 2, found null"),
        ({"text": ["a", None, "b"], "tokens": pa.array([None, None, ["b"]])}, "'tokens' and 'text' are null"),
    ],
)
def test_a_row_that_cannot_be_tagged_is_reported_or_rejected(tmp_path: Path, columns: dict, fault: str):
    path = file(tmp_path / "a.parquet", columns | {"n": [1, 2, 3]})
    with pytest.raises(DataError, match=r"a\.parquet: row 2: ") as caught:
        read(path)
    assert fault in str(caught.value)
    rejects: list[Reject] = []
    assert [record.line for record in read(path, reject=rejects.append)] == [1, 3]
    assert [(reject.fault, reject.line, json.loads(reject.raw)["n"]) for reject in rejects] == [
        (str(caught.value), 2, 2)
    ]


def test_a_text_that_is_not_utf8_is_a_fault_of_its_row(tmp_path: Path):
    broken = pa.array([b"ok", b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    path = file(tmp_path / "a.parquet", {"text": ["a", "b", "c"], "other": broken})
    rejects: list[Reject] = []
    assert [record.text for record in read(path, reject=rejects.append)] == ["a", "c"]
    assert [reject.fault for reject in rejects] == [f"{path}: row 2: a text is not UTF-8"]


def test_an_unreadable_file_is_an_error_even_if_rows_are_rejected(tmp_path: Path):
    no_column = file(tmp_path / "a.parquet", {"body": ["a"]})
    with pytest.raises(DataError, match=r"no column 'text' or 'tokens'; it has body$"):
        read(no_column, reject=lambda _: None)
    twice = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["text", "text"]), twice)
    with pytest.raises(DataError, match="two columns are called 'text'"):
        read(twice)
    with pytest.raises(DataError, match=r"c\.parquet: not a Parquet file that can be read: No such file"):
        read(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="not a Parquet file that can be read"):
        read(tmp_path)


def test_row_groups_before_damage_are_read(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"text": [f"Ada met {n}" for n in range(50)]}, row_group_size=10)
    place = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes(20) + data[place + 20 :])
    found: list[int] = []
    with pytest.raises(DataError, match=r"not a Parquet file .*; read up to row 30$"):
        found.extend(record.line for record in reader.read_records(path, input_format="parquet", layout=Layout()))
    assert found == list(range(1, 31))


def test_small_row_groups_are_read_together(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"tokens": [["a"]] * 3000, "n": range(3000)}, row_group_size=2)
    found = read(path)
    assert [record.fields["n"] for record in found] == list(range(3000))
    assert len({id(record.fields.batch) for record in found}) == 3


@pytest.mark.parametrize("batch", [1, 3, 7, 10, 25, 100])
def test_every_row_before_damage_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int):
    monkeypatch.setattr(reading, "_BATCH_ROWS", batch)
    path = file(tmp_path / "a.parquet", {"text": [f"Ada met {n}" for n in range(50)]}, row_group_size=10)
    place = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes(20) + data[place + 20 :])
    found: list[str | None] = []
    with pytest.raises(DataError, match=r"; read up to row 30$"):
        found.extend(record.text for record in reader.read_records(path, input_format="parquet", layout=Layout()))
    assert found == [f"Ada met {n}" for n in range(30)]


@pytest.mark.parametrize(("damaged", "read_up_to"), [(2, 20), (3, 30)])
def test_damage_is_reported_with_the_same_row_for_a_part_of_a_file(tmp_path: Path, damaged: int, read_up_to: int):
    path = file(tmp_path / "a.parquet", {"text": [f"Ada met {n}" for n in range(50)]}, row_group_size=10)
    place = pq.ParquetFile(path).metadata.row_group(damaged).column(0).data_page_offset
    data = path.read_bytes()
    source = BytesIO(data[:place] + bytes(20) + data[place + 20 :])
    with pytest.raises(DataError, match=f"; read up to row {read_up_to}$"):
        list(parquet.read_groups(source, ReadOptions("a", Layout(), first=21), range(2, 5)))


def test_a_stream_is_refused():
    with pytest.raises(ConfigError, match="standard input: Parquet cannot be read from a stream; name the file"):
        reader.read_records(BytesIO(b""), input_format="parquet", layout=Layout())


@pytest.mark.parametrize("encoded", [False, True])
def test_a_damaged_file_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: bool):
    if encoded:
        monkeypatch.setattr(reading, "_BATCH_BYTES", 1)
    path = file(tmp_path / "a.parquet", {"text": ["Ada met Bob"] * 50, "n": range(50)}, row_group_size=20)
    whole, draw, faults = path.read_bytes(), random.Random(11), 0
    for _ in range(100 * SCALE):
        data = bytearray(whole)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        for _ in range(draw.randint(1, 4)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            read(path)
        except DataError:
            faults += 1
    assert faults > 20 * SCALE


LIMIT = 1000
LARGE = {
    "text": ("text", ["a", "b " * 600, "c"]),
    "tokens": ("tokens", [["a"], ["b"] * 600, ["c"]]),
    "sentences": ("tokens", [[["a"]], [["b"]] * 600, [["c"]]]),
    "bytes": ("other", [b"", b"b" * 1001, None]),
    "large string": ("other", pa.array(["", "b" * 1001, None], pa.large_string())),
    "view": ("other", pa.array(["", "b" * 1001, None], pa.string_view())),
    "category": ("other", pa.array(["", "b" * 1001, None]).dictionary_encode()),
    "list of categories": (
        "other",
        pa.ListArray.from_arrays([0, 0, 300, 300], pa.array(["bbb"] * 300).dictionary_encode()),
    ),
    "struct": ("other", [{"x": ["a"]}, {"x": ["b" * 600, "c" * 600]}, None]),
    "map": ("other", pa.array([[], [("k" * 600, "v" * 600)], None], pa.map_(pa.string(), pa.string()))),
    "numbers": ("other", [[1], [2] * 200, None]),
    "nulls": ("other", pa.array([[], [None] * 1001, None], pa.list_(pa.null()))),
    "fixed": ("other", pa.array([[1] * 130] * 3, pa.list_(pa.int64(), 130))),
    "repeated": ("text", ["b " * 600] * 3),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("way", [{}, {"use_dictionary": False}, {"row_group_size": 1}, {"store_schema": False}])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_row_that_is_too_large_is_rejected_without_conversion_to_python_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, way: dict, encoded: bool
):
    if encoded:
        monkeypatch.setattr(reading, "_BATCH_BYTES", 1)
    name, values = LARGE[kind]
    if name == "tokens" or kind == "repeated":
        columns: dict[str, Any] = {name: values}
    else:
        columns = {"tokens": [["a"], ["b"], ["c"]]} | {name: values}
    large = {1, 2, 3} if kind in ("fixed", "repeated") else {2}
    path = file(tmp_path / "a.parquet", columns, **way)
    rejects: list[Reject] = []
    found = read(path, reject=rejects.append, max_record_bytes=LIMIT)
    fault = "a row of over 1,000 bytes; raise `max_record_bytes` to read it"
    assert [(reject.fault, reject.line, reject.raw) for reject in rejects] == [
        (f"{path}: row {number}: {fault}", number, "") for number in sorted(large)
    ]
    assert [record.line for record in found] == [number for number in (1, 2, 3) if number not in large]
    with pytest.raises(DataError, match=fault):
        read(path, max_record_bytes=LIMIT)
    assert len(read(path, max_record_bytes=10 * LIMIT)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_dictionary_encoded_rows_are_the_rows_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
):
    monkeypatch.setattr(reading, "_BATCH_BYTES", 5000)
    monkeypatch.setattr(reading, "_DECODED_BYTES", 3000)
    draw = random.Random(seed)
    words = ["", "a", "é" * 20, "c" * 100]
    texts = pa.array([draw.choice([None, *words]) for _ in range(300)])
    columns = {
        "tokens": [draw.choices(words[1:], k=draw.randrange(9)) for _ in range(300)],
        "text": texts,
        "large": texts.cast(pa.large_binary()),
        "kind": texts.dictionary_encode(),
        "nested": [draw.choice([None, {"x": None}, {"x": draw.choices(words, k=3)}]) for _ in range(300)],
        "pairs": pa.array([[("k", draw.choice(words))]] * 300, pa.map_(pa.string(), pa.string())),
        "n": pa.array(range(300), pa.int16()),
    }
    path = file(tmp_path / "a.parquet", columns, row_group_size=draw.choice([1, 7, 300]))
    given = pq.read_table(path)
    records = read(path)
    assert [record.line for record in records] == list(range(1, 301))
    assert [list(map(list, (sentence.tokens for sentence in record.sentences))) for record in records] == [
        [tokens] if tokens else [] for tokens in columns["tokens"]
    ]
    found = written(records, tmp_path, input_format="parquet", source=path)
    for name in given.column_names:
        assert found.schema.field(name).type == given.schema.field(name).type
        assert found[name].to_pylist() == given[name].to_pylist()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.list_(pa.string())])
def test_repeated_large_dictionary_values_do_not_fill_the_memory(tmp_path: Path, kind: pa.DataType):
    value = "b" * 500_000
    columns: dict[str, Any] = {"tokens": [["a"]] * 2000}
    coded = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([value]))
    lists = pa.ListArray.from_arrays(pa.array(range(2001), pa.int32()), coded)
    path = file(tmp_path / "a.parquet", columns | {"other": lists if kind == pa.list_(pa.string()) else coded})
    schema = pa.schema([("tokens", pa.list_(pa.string())), ("other", kind)])
    if kind != pa.list_(pa.string()):  # told to be of another type than a dictionary
        with pq.ParquetWriter(path, schema, dictionary_pagesize_limit=1 << 22) as writer:
            for _ in range(20):
                writer.write_table(pa.table([[["a"]] * 100, [value.encode()] * 100], ["tokens", "other"]).cast(schema))
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        rejects: list[Reject] = []
        read(path, reject=rejects.append, max_record_bytes=1000)
        assert len(rejects) == 2000
        assert pool.max_memory() < 250_000_000  # decoded, it is 1 GB
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize(("items", "size"), [(10, 1 << 40), (1 << 40, 10)])
def test_a_decompression_bomb_is_refused_after_the_row_groups_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int, size: int
):
    monkeypatch.setattr(reading, "_MAX_GROUP_ITEMS", items)
    monkeypatch.setattr(reading, "_MAX_GROUP_BYTES", size)
    writer = pq.ParquetWriter(
        tmp_path / "a.parquet", pa.schema([("tokens", pa.list_(pa.string()))]), compression="zstd"
    )
    for count in (1, 100_000):
        writer.write_table(pa.table({"tokens": [["word"] * count]}), row_group_size=10)
    writer.close()
    found: list[int] = []
    if size == 10:
        monkeypatch.setattr(reading, "_MAX_EXPANSION", 0.5)
    with pytest.raises(
        DataError, match=r"row group \d has .* rows, compressed to \d+ bytes; write smaller row groups"
    ) as caught:
        found.extend(
            record.line
            for record in reader.read_records(tmp_path / "a.parquet", input_format="parquet", layout=Layout())
        )
    assert found == ([1] if items == 10 else [])
    assert ("read up to row 1" in str(caught.value)) == bool(found)


def test_a_table_that_changes_while_it_is_read_is_corrupt(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"tokens": [["a"]] * 5000})
    whole = path.read_bytes()
    for change in (whole[:-100], whole + b"x", whole[:100] + b"x" + whole[101:]):
        path.write_bytes(whole)
        os.utime(path, ns=(10**18, 10**18))
        found = reader.read_records(path, input_format="parquet", layout=Layout())
        next(found)
        path.write_bytes(change)
        with pytest.raises(CorruptError, match="changed while it was read"):
            list(found)


def test_a_file_name_that_is_not_utf8_is_read_and_written(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"text": ["Ada left"], "n": [1]}).rename(
        tmp_path / os.fsdecode(b"\xff.parquet")
    )
    found = read(path)
    writer = make_sink("parquet", WriteOptions(input_format="parquet", layout=Layout(), source=path, name=str(path)))
    part = tmp_path / os.fsdecode(b".\xff.part")
    part.write_bytes(writer.begin() + writer.write(tagged(found)) + writer.end())
    writer.finish(part)
    part.rename(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet")["tokens"].to_pylist() == [["Ada", "left"]]


def test_a_column_name_that_is_not_utf8_is_damage(tmp_path: Path):
    path = file(tmp_path / "a.parquet", {"tokens": [["a"]]}, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"tokens", b"\xf4okens"))
    with pytest.raises(DataError, match="not a Parquet file that can be read"):
        read(path)
