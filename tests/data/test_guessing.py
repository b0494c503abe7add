"""The format of a file is guessed from its name and its beginning."""

import gzip
import os
from pathlib import Path

import pytest

from tagger.data.guessing import guess_format

COLUMNS = "Ada B-PER\nran O\n\nno O\n"
CONLLU = "# text = Ada\n1\tAda\t_\tPROPN\t_\t_\t0\troot\t_\t_\n\n"
ROW = '{"text": "Ada", "label": []}\n'


@pytest.mark.parametrize(
    ("name", "content", "tagged", "untagged"),
    [
        ("a.conll", COLUMNS, "columns", "columns"),
        ("a.conllu", CONLLU, "conllu", "conllu"),
        ("a.conllu", COLUMNS, "conllu", "conllu"),
        ("a.conll", ROW, "jsonl", "jsonl"),
        ("a.conllu", "[" + ROW + "]", "json", "json"),
        ("train", COLUMNS, "columns", "columns"),
        ("eng.testa", COLUMNS, "columns", "columns"),
        ("a.dat", "Ada ran.\nShe won.\n", "columns", "text"),
        ("a.dat", "Ada|N|B-PER ran|V|O\nno|D|O\n", "pipes", "text"),
        ("a.dat", "Ada|N|B-PER ran|V\n", "columns", "text"),
        ("a.dat", "a|b\n\nc|d\n", "columns", "text"),
        ("a.dat", CONLLU, "conllu", "conllu"),
        ("a.dat", ROW, "jsonl", "jsonl"),
        ("a.txt", COLUMNS, "columns", "text"),
        ("a.txt", CONLLU, "conllu", "text"),
        ("a.txt", ROW, "jsonl", "text"),
        ("a.txt", "", "columns", "text"),
        ("a.jsonl", ROW * 3, "jsonl", "jsonl"),
        ("a.jsonl", '["Ada", {"entities": []}]\n', "jsonl", "jsonl"),
        ("a.jsonl", '{"text": broken\n' + ROW, "jsonl", "jsonl"),
        ("a.jsonl", '[\n{"text": "Ada"}\n]', "json", "json"),
        ("a.jsonl", '{"text": "' + "x" * 10_000 + '"}\n', "jsonl", "jsonl"),
        ("a.json", ROW * 2, "jsonl", "jsonl"),
        ("a.json", ROW, "json", "json"),
        ("a.json", '[{"text": "' + "x" * 10_000 + '"}]', "json", "json"),
        ("a.json", '{\n "text": "Ada"\n}', "json", "json"),
        ("a.json", "\ufeff \n[[]]", "json", "json"),
        ("a.parquet", "PAR1\0", "parquet", "parquet"),
        ("a.conll", "PAR1\0", "parquet", "parquet"),
        ("a.conll", "[ O\n{ O\n\n", "columns", "columns"),
        ("a.tsv", "Ada\tO\n", "columns", "columns"),
        ("a.csv", "token,tag\nAda,O\n", "csv", "csv"),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_name_and_content_decide(
    tmp_path: Path, name: str, content: str, tagged: str, untagged: str, is_compressed: bool
):
    path = tmp_path / (name + ".gz" * is_compressed)
    path.write_bytes(gzip.compress(content.encode()) if is_compressed else content.encode())
    assert guess_format(path, tagged=True).format == tagged
    assert guess_format(path).format == untagged


def test_without_a_file_the_name_decides():
    assert guess_format(Path("none/a.jsonl.gz")) == ("jsonl", "name")
    assert guess_format(Path("none/a.txt")).format == "text"
    assert guess_format(Path("none/train.txt"), tagged=True).format == "columns"


def test_a_pipe_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jsonl")
    assert guess_format(tmp_path / "a.jsonl") == ("jsonl", "name")


def test_only_the_beginning_of_a_file_is_read(tmp_path: Path):
    packed = gzip.compress((ROW * 100_000).encode())
    (tmp_path / "a.gz").write_bytes(packed[:2000])  # the rest would be a fault
    assert guess_format(tmp_path / "a.gz").format == "jsonl"
    (tmp_path / "b.gz").write_bytes(b"no gzip")
    assert guess_format(tmp_path / "b.gz").format == "text"
