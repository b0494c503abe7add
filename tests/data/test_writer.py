import json
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from tagger.choices import InputFormat, OutputFormat, options
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.writing import WriteOptions
from tagger.data.sentence import Record, Sentence
from tagger.data.writer import make_sink
from tagger.errors import ConfigError
from tests.data.tagged import tagged

COLUMNS = "EU NNP O\nParis NNP O\n\n-DOCSTART- X O\n\nno DT O\n\n-DOCSTART- X O\n"
REST = "_\tX\tX\t_\t_\t_\t_\t{}"
CONLLU = f"# newdoc\n1\tEU\t{REST}\n2\tParis\t{REST}\n\n1\tno\t{REST}\n"
INPUTS = {
    "text": "EU Paris\n\nno\n",
    "lines": "EU Paris\n\nno\n",
    "columns": COLUMNS,
    "csv": "word,pos\nEU,NNP\nParis,NNP\n\nno,DT\n",
    "pipes": "EU|NNP Paris|NNP\n\nno|DT\n",
    "conllu": CONLLU.replace("{}", "NER=O"),
    "jsonl": '{"text": "EU Paris"}\n{"tokens": []}\n{"tokens": ["no"]}\n',
    "json": '[{"text": "EU Paris"}, {"tokens": []},\n{"tokens": ["no"]}]\n',
}
LAYOUT = {"columns": Layout(), "conllu": Layout(tag="misc:NER")}
FOUND = [(("EU", "Paris"), ("B-X", "I-X")), (("no",), ("B-X",))]


def records(input_format: str, tmp_path: Path, text: str | None = None) -> tuple[list[Record], Path]:
    """Returns the tagged records of an input, and its path."""
    path = tmp_path / ("a.txt" if input_format == "brat" else "a")
    if input_format == "parquet":
        pq.write_table(pa.table({"text": ["EU Paris", "", "no"]}), path)
    elif input_format == "spacy":
        DocBin(docs=[Doc(Vocab(), words=words) for words in (["EU", "Paris"], [], ["no"])]).to_disk(path)
    elif input_format == "brat":
        path.write_text(INPUTS["text"])
    else:
        path.write_text(INPUTS[input_format] if text is None else text, newline="")
    found = reader.read_records(
        path, input_format=input_format, layout=LAYOUT.get(input_format, Layout(tag=None)), name="a.x"
    )
    return tagged(found), path


def output(to: str, input_format: str, tmp_path: Path, text: str | None = None, **more: object) -> str:
    layout = LAYOUT["conllu"] if to == "conllu" else LAYOUT.get(input_format, Layout(tag=None))
    found, path = records(input_format, tmp_path, text)
    writer = make_sink(to, WriteOptions(input_format=input_format, layout=layout, name="a.x", source=path, **more))
    return (writer.begin() + writer.write(found) + writer.end()).decode()


def test_columns_and_conllu_are_written_back_unchanged_except_for_the_tags(tmp_path: Path):
    assert output("columns", "columns", tmp_path) == (
        "EU NNP B-X\nParis NNP I-X\n\n-DOCSTART- X O\n\nno DT B-X\n\n-DOCSTART- X O\n"
    )
    tags = iter(["NER=B-X", "NER=I-X", "NER=B-X"])
    expected = "".join(next(tags) if piece == "{}" else piece for piece in CONLLU.replace("{}", "|{}|").split("|"))
    assert output("conllu", "conllu", tmp_path) == expected


@pytest.mark.parametrize("input_format", options(InputFormat))
@pytest.mark.parametrize("to", ["columns", "conllu"])
def test_every_input_can_be_written_as_a_corpus_and_read_again(input_format: str, to: str, tmp_path: Path):
    text = output(to, input_format, tmp_path)
    layout = Layout(tag="misc:NER" if to == "conllu" else -1)
    again = reader.read_sentences(BytesIO(text.encode()), input_format=to, layout=layout, tagged=True)
    assert [(one.tokens, one.tags) for one in again if one.tokens] == FOUND


@pytest.mark.parametrize("input_format", options(InputFormat))
@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_every_input_can_be_written_as_rows_one_per_record_with_tokens(input_format: str, to: str, tmp_path: Path):
    found, path = records(input_format, tmp_path)
    writer = make_sink(to, WriteOptions(input_format=input_format, layout=Layout(), source=path))
    data = writer.begin() + writer.write(found) + writer.end()
    part = tmp_path / "part"
    part.write_bytes(data)
    writer.finish(part)
    rows = (
        [json.loads(line) for line in data.splitlines()] if to == "jsonl" else pq.ParquetFile(part).read().to_pylist()
    )
    assert [(tuple(row["tokens"]), tuple(row["tags"])) for row in rows if row["tokens"]] == FOUND
    assert len(rows) == (2 if input_format in ("text", "columns", "csv", "pipes", "conllu", "brat") else 3)
    documents = {
        "text": ["a.x", "a.x"],
        "brat": ["a.x", "a.x"],
        "columns": [0, 1],
        "csv": [0, 0],
        "pipes": [0, 0],
        "conllu": [0, 0],
    }.get(input_format, [0, 1, 2])
    as_text = to == "parquet" and input_format in ("jsonl", "json", "parquet", "csv", "pipes", "conllu", "spacy")
    assert [row["document"] for row in rows] == ([str(one) for one in documents] if as_text else documents)
    assert all(
        ("sentences" in row) == (input_format in ("text", "jsonl", "json", "parquet", "brat", "spacy")) for row in rows
    )


@pytest.mark.parametrize("input_format", options(InputFormat))
@pytest.mark.parametrize("to", [to for to in options(OutputFormat) if to != "brat"])
def test_the_output_of_a_pool_does_not_depend_on_previous_pools(input_format: str, to: str, tmp_path: Path):
    found, path = records(input_format, tmp_path)
    layout = LAYOUT["conllu"] if to == "conllu" else LAYOUT.get(input_format, Layout(tag=None))
    one, other = (
        make_sink(to, WriteOptions(input_format=input_format, layout=layout, name="a", source=path, probabilities=True))
        for _ in range(2)
    )
    begun = one.begin()
    one.write(found[:1])
    one.end()
    assert one.write(found[1:]) == other.write(found[1:])
    assert one.write([]) == b""
    assert one.begin() == begun == other.begin()


@pytest.mark.parametrize("input_format", ["text", "lines", "columns", "jsonl"])
@pytest.mark.parametrize("to", [to for to in options(OutputFormat) if to != "brat"])
def test_an_empty_file_becomes_an_empty_output(input_format: str, to: str, tmp_path: Path):
    if to == "spacy":
        return  # see test_doc_bin
    if to == "parquet":
        writer = make_sink(to, WriteOptions(input_format=input_format, layout=Layout()))
        (tmp_path / "part").write_bytes(writer.begin() + writer.end())
        writer.finish(tmp_path / "part")
        assert pq.ParquetFile(tmp_path / "part").metadata.num_rows == 0
        return
    text = output(to, input_format, tmp_path, "")
    begun = "-DOCSTART- a.x\n\n" if (input_format, to) == ("text", "columns") else ""
    if to in ("columns", "conllu", "pipes", "jsonl", "doccano", "prodigy"):
        assert text == begun
    else:
        assert text


def test_lines_become_columns_with_their_empty_lines(tmp_path: Path):
    assert output("columns", "lines", tmp_path, "a b\n\n\nc") == "a B-X\nb I-X\n\n\n\nc B-X\n\n"


def test_lines_become_conllu_without_empty_lines(tmp_path: Path):
    assert output("conllu", "lines", tmp_path, "\na\n\n").count("\n\n") == 1


def test_a_document_starts_with_its_id_in_columns_and_conllu(tmp_path: Path):
    rows = '{"text": "A left. C\\td", "id": " a\\n b"}\n{"text": "", "document": "x"}\n'
    assert output("columns", "jsonl", tmp_path, rows) == (
        "-DOCSTART- a_b\n\nA\tB-X\nleft\tI-X\n.\tO\n\nC\tB-X\nd\tI-X\n\n-DOCSTART- x\n\n"
    )
    text = output("conllu", "jsonl", tmp_path, rows)
    assert [line for line in text.split("\n") if line.startswith("#")] == [
        "# newdoc id = a b",
        "# sent_id = a.x-1.1",
        "# text = A left.",
        "# sent_id = a.x-1.2",
        "# text = C d",
    ]
    assert output("columns", "text", tmp_path, "\nA b\r\nc\n") == "-DOCSTART- a.x\n\nA\tB-X\nb\tI-X\n\nc\tB-X\n\n"


def test_probabilities_are_a_last_column_or_a_key_of_misc(tmp_path: Path):
    assert output("columns", "columns", tmp_path, "a NN O\n", probabilities=True) == "a NN B-X 0.500000\n"
    assert output("columns", "lines", tmp_path, "a\n", probabilities=True) == "a B-X 0.500000\n\n"
    for input_format in ("lines", "conllu"):
        assert "NER=B-X|Prob=0.500000\n" in output("conllu", input_format, tmp_path, probabilities=True)


@pytest.mark.parametrize("to", ["columns", "conllu", "tsv", "html"])
def test_only_rows_can_hold_alternatives(to: str):
    with pytest.raises(ConfigError, match=f"alternatives can be written to jsonl or parquet, not to {to}"):
        make_sink(to, WriteOptions(input_format="lines", layout=Layout(), alternatives=True))


def test_a_token_with_a_space_survives_conversion_from_conllu_to_columns():
    (given,) = tagged([Record((Sentence(("1 000", "men")),))])
    text = make_sink("columns", WriteOptions(input_format="conllu", layout=Layout())).write([given])
    assert text == b"1 000\tB-X\nmen\tI-X\n\n"
    (read,) = reader.read_sentences(BytesIO(text), input_format="columns", layout=Layout(), tagged=True)
    assert (read.tokens, read.tags) == (given.sentences[0].tokens, given.sentences[0].tags)


@pytest.mark.parametrize("to", ["columns", "conllu"])
def test_a_token_of_json_does_not_break_lines_of_a_corpus(to: str):
    tokens = ["a\tb", "c\nd\r", "\0", "\u2028", "\ud800", "\\"]
    data = json.dumps({"tokens": tokens}).encode()
    layout = Layout(tag="xpos")
    text = make_sink(to, WriteOptions(input_format="jsonl", layout=layout)).write(
        tagged(reader.read_records(BytesIO(data), input_format="jsonl", layout=layout))
    )
    again = reader.read_sentences(
        BytesIO(text), input_format=to, layout=Layout(tag="xpos" if to == "conllu" else -1), tagged=True
    )
    found = [one.tokens for one in again if one.tokens]
    assert found == [("a\\tb", "c\\nd\\r", "\\0", "\u2028", "\\ud800", "\\")]


def test_ids_and_numbers_of_documents_in_conllu_are_one_column_of_parquet(tmp_path: Path):
    row = "1\tEU" + 8 * "\t_" + "\n\n"
    data = f"{row}# newdoc id = a\n{row}# newdoc\n{row}".encode()
    layout = Layout(tag="xpos")
    found = tagged(reader.read_records(BytesIO(data), input_format="conllu", layout=layout))
    writer = make_sink("parquet", WriteOptions(input_format="conllu", layout=layout))
    (tmp_path / "part").write_bytes(writer.begin() + writer.write(found) + writer.end())
    writer.finish(tmp_path / "part")
    assert pq.read_table(tmp_path / "part")["document"].to_pylist() == ["0", "a", "2"]
