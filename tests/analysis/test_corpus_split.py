import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import tagger
from tagger.cli import app
from tagger.errors import ConfigError, DataError, StorageError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["split", *map(str, arguments)])


def sentence(number: int) -> str:
    kind = "RARE" if number % 30 == 0 else "PER"
    return f"w{number} x O\r\nAda y B-{kind}\r\n\r\n"


def columns(count: int, *, documents: int) -> list[str]:
    """Returns the text of each document."""
    size = count // documents
    texts = ["".join(map(sentence, range(start, start + size))) for start in range(0, count, size)]
    return [f"-DOCSTART- - O\r\n\r\n{text}" for text in texts] if documents > 1 else texts


def test_the_files_hold_whole_documents_byte_for_byte_in_their_order(tmp_path: Path) -> None:
    documents = columns(120, documents=40)
    path = tmp_path / "news.conll"
    path.write_bytes("".join(documents).encode())
    done = run(path, "--out", tmp_path / "parts", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["files"] == [str(tmp_path / "parts" / f"{role}.conll") for role in ("train", "dev", "test")]
    assert [part["documents"] for part in result["parts"]] == [32, 4, 4]
    remaining = list(documents)
    for file, part in zip(result["files"], result["parts"], strict=True):
        text = Path(file).read_bytes().decode()
        chosen = [document for document in documents if document in text]
        assert text == "".join(chosen)
        remaining = [document for document in remaining if document not in chosen]
        assert part["types"].keys() == {"PER", "RARE"}
    assert remaining == []


def test_a_single_document_is_split_by_sentence_and_the_end_of_the_file_is_preserved(tmp_path: Path) -> None:
    text = "\ufeff" + "".join(columns(20, documents=1)).removesuffix("\r\n\r\n")
    path = tmp_path / "news.txt"
    path.write_bytes(text.encode())
    result = tagger.split(path, out=tmp_path, fractions=(50, 50))
    assert [file.name for file in result.files] == ["train.txt", "dev.txt"]
    parts = [file.read_bytes().decode() for file in result.files]
    assert sorted("".join(parts)) == sorted(text)
    assert [part.sentences for part in result.parts] == [10, 10]
    assert {part[0] == "\ufeff" for part in parts} == {True, False}


def test_comments_and_word_ranges_of_a_treebank_are_preserved(tmp_path: Path) -> None:
    blocks = [
        f"# sent_id = {number}\n1-2\tzum\t_" + "\t_" * 7 + f"\n1\ta{number}\t_\tX" + "\t_" * 6 + "\n\n"
        for number in range(10)
    ]
    path = tmp_path / "all.conllu"
    path.write_text("".join(blocks))
    result = tagger.split(path, out=tmp_path / "parts")
    texts = [file.read_text() for file in result.files]
    assert sorted(block for text in texts for block in blocks if block in text) == sorted(blocks)
    assert sum(map(len, texts)) == sum(map(len, blocks))


def test_the_seed_decides(tmp_path: Path) -> None:
    path = tmp_path / "news.txt"
    path.write_text("".join(columns(60, documents=1)))
    texts = [
        tagger.split(path, out=tmp_path / str(number), seed=seed).files[1].read_text()
        for number, seed in enumerate((1, 1, 2))
    ]
    assert texts[0] == texts[1] != texts[2]


def test_existing_files_are_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "news.txt"
    path.write_text("".join(columns(20, documents=1)))
    (tmp_path / "dev.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"dev\.txt: exists already; choose another `out`"):
        tagger.split(path, out=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dev.txt", "news.txt"]
    assert (tmp_path / "dev.txt").read_text() == "mine"


@pytest.mark.parametrize("fractions", ["80", "80,10,5,5", "80,0,20", "80,-1,2", "nan,1,1", "a,b"])
def test_fractions_that_make_no_sense_are_one_line(tmp_path: Path, fractions: str) -> None:
    path = tmp_path / "news.txt"
    path.write_text(sentence(1))
    done = run(path, "--out", tmp_path, "--fractions", fractions)
    assert done.exit_code == 2
    assert done.stderr.startswith("--fractions must be ")
    assert done.stderr.count("\n") == 1


def test_too_few_sentences_and_several_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "news.txt"
    path.write_text(sentence(1) + sentence(2))
    with pytest.raises(DataError, match="expected at least 3 sentences or rows to split, found 2"):
        tagger.split(path, out=tmp_path / "parts")
    with pytest.raises(ConfigError, match="name one file to split as `data`; got 2 files"):
        tagger.split([path, path], out=tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_rows_and_their_fields_are_preserved(tmp_path: Path) -> None:
    rows = [json.dumps({"id": number, "text": "Ada sleeps .", "label": [[0, 3, "PER"]]}) + "\n" for number in range(20)]
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(rows))
    result = tagger.split(path, out=tmp_path / "parts", fractions=(80, 20))
    assert [part.types for part in result.parts] == [{"PER": 16}, {"PER": 4}]
    texts = [file.read_text() for file in result.files]
    assert sorted(row for text in texts for row in rows if row in text) == sorted(rows)


def test_each_part_of_a_table_has_its_header(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("tag,token\n" + "B-PER,Ada\nO,sleeps\n\n" * 10)
    result = tagger.split(path, out=tmp_path / "parts")
    for file, count in zip(result.files, (8, 1, 1), strict=True):
        assert file.read_text() == "tag,token\n" + "B-PER,Ada\nO,sleeps\n\n" * count


def rows(count: int) -> list[dict[str, object]]:
    """Returns rows with texts of one and two sentences; each fifth one is not annotated."""
    texts = ["Ada sleeps.", "Ada sleeps. She snores."]
    return [
        {"id": number, "text": texts[number % 2], "label": None if number % 5 == 4 else [[0, 3, "PER"]]}
        for number in range(count)
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_the_records_of_json_are_preserved(tmp_path: Path, indent: int | None) -> None:
    expected = rows(30)
    (tmp_path / "all.json").write_text(json.dumps({"version": 1, "data": expected}, indent=indent))
    result = tagger.split(tmp_path / "all.json", out=tmp_path / "parts", fractions=(80, 20))
    assert [part.types for part in result.parts] == [{"PER": 19}, {"PER": 5}]
    parts = [json.loads(file.read_text()) for file in result.files]
    assert sorted([*parts[0], *parts[1]], key=lambda row: row["id"]) == expected
    assert [row["id"] for row in parts[1]] == sorted(row["id"] for row in parts[1])


def test_the_rows_and_metadata_of_parquet_are_preserved(tmp_path: Path) -> None:
    expected = rows(30)
    labels = [[{"start": 0, "end": 3, "type": "PER"}] if row["label"] else None for row in expected]
    table = pa.table({"id": range(30), "text": [row["text"] for row in expected], "label": labels})
    table = table.replace_schema_metadata({"a": "b"})
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=7)
    result = tagger.split(tmp_path / "all.parquet", out=tmp_path / "parts", fractions=(80, 20))
    assert [part.types for part in result.parts] == [{"PER": 19}, {"PER": 5}]
    parts = [pq.ParquetFile(file).read() for file in result.files]
    assert pa.concat_tables(parts).sort_by("id").equals(table)
    assert parts[1].schema.metadata == {b"a": b"b"}


def test_the_pairs_of_brat_are_copied_to_a_folder_for_each_part(tmp_path: Path) -> None:
    files = {}
    for number in range(10):
        for suffix, text in (("txt", f"Ada {number} ran.\r\n"), ("ann", "T1\tPER 0 3\tAda\n")):
            files[f"deep/{number}.{suffix}"] = text.encode()
    for name, content in files.items():
        (tmp_path / "all.v1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all.v1" / name).write_bytes(content)
    result = tagger.split(tmp_path / "all.v1", out=tmp_path / "parts")
    assert [file.name for file in result.files] == ["train", "dev", "test"]
    assert [part.types for part in result.parts] == [{"PER": 8}, {"PER": 1}, {"PER": 1}]
    copied = {
        str(path.relative_to(folder)): path.read_bytes()
        for folder in result.files
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert copied == files


def test_lines_after_the_last_sentence_are_preserved(tmp_path: Path) -> None:
    path = tmp_path / "news.conll"
    path.write_text("".join(columns(20, documents=1)) + "-DOCSTART- - O\n\n")
    parts = [file.read_text() for file in tagger.split(path, out=tmp_path / "parts").files]
    assert sum(part.count("-DOCSTART-") for part in parts) == 1
    assert sum(map(len, parts)) == len(path.read_text())


def test_types_that_a_part_lacks_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada B-PER\nran O\n\n" * 30 + "Oslo B-LOC\n\n")
    done = run(tmp_path / "a.conll", "--out", tmp_path / "parts")
    lines = done.stdout.splitlines()
    assert [line for line in lines if " has no " in line] == ["dev has no LOC", "test has no LOC"]
    again = run(tmp_path / "a.conll", "--out", tmp_path / "more", "--json")
    assert json.loads(again.stdout)["missing"] == {"dev": ["LOC"], "test": ["LOC"]}
    (tmp_path / "b.conll").write_text("Ada B-PER\nran O\n\n" * 30)
    assert " has no " not in run(tmp_path / "b.conll", "--out", tmp_path / "other").stdout
