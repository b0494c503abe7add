"""The format of a file is guessed from its name and its beginning."""

import gzip
import os
from pathlib import Path

import pytest

from tagger.data.guessing import find_likely_format, guess_format

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
        ("a.txt", COLUMNS, "columns", "columns"),
        ("a.txt", CONLLU, "conllu", "conllu"),
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


DOCUMENTS = "-DOCSTART- -X- O\n\nAda NNP B-PER\n"
TABBED = "New York\tB-LOC\r\nis\tO\r\n# sent 2\r\nbig\tO\r\n"


@pytest.mark.parametrize(
    "content", [DOCUMENTS, "-DOCSTART-\n\nshe PRP\nran VBD\n", TABBED, "\ufeff" + COLUMNS, COLUMNS * 999]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_text_file_that_is_plainly_columns_is_no_raw_text(tmp_path: Path, content: str, suffix: str):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(gzip.compress(content.encode()) if suffix else content.encode())
    assert guess_format(path) == ("columns", "content")
    assert find_likely_format(path) is None


PROSE = (
    "Ada ran.\nShe won.\n\nWe left.\n",
    "vitamin B-12\nvitamin B-6\nvitamin B-1\n\n",
    "blood group O\nblood group O\nblood group O\n",
    "Ada Quill\nSam Reed\n\nKim Lee\n",
    "name\tanswer\nAda\tThe O is round.\nSam\tB-sides, mostly\n",
    "plan B-side\nplan O\nplan C\n",
    "-DOCSTART- is the first word of a document\nin that format.\n",
    "O\nO\nB-PER\n",
    "1\tAda ran\n",
    "",
    "\n \n",
)


@pytest.mark.parametrize("content", PROSE)
def test_prose_and_tables_in_a_text_file_are_raw_text_without_a_warning(tmp_path: Path, content: str):
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert guess_format(path) == ("text", "")
    assert find_likely_format(path) is None


@pytest.mark.parametrize(
    ("content", "likely"),
    [
        ("The DT\ncat NN\nran VBD\n\n" * 3, "columns"),
        ("Ada|B-PER ran|O\n" * 8, "pipes"),
        (ROW, "jsonl"),
        ("[" + ROW + "]", "json"),
        ("PAR1\0", "parquet"),
    ],
)
def test_a_text_file_that_may_be_another_format_is_raw_text_with_a_warning(tmp_path: Path, content: str, likely: str):
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert guess_format(path) == ("text", "")
    assert find_likely_format(path) == likely


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
