"""Conversion between formats: tags and spans survive it, types are renamed, inputs are never overwritten."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import tagger
from tagger.errors import ConfigError, DataError

COLUMNS = """\
-DOCSTART- x

Ada\tB-PER
Lovel\tI-PER
met\tO
Eve\tB-PER
Karr\tB-PER

Oslo\tB-LOC
Bank\tI-ORG
.\tO

-DOCSTART- y

no\tO

"""
DOCCANO = [
    {
        "id": 7,
        "text": "Ada Lovel, of Norvex Bank, left.  Eve too.",
        "label": [[0, 9, "PER"], [14, 25, "ORG"], [34, 37, "PER"]],
    },
    {"id": 9, "text": "Nobody.", "label": []},
    {"id": 12, "text": "In \U0001f600 Oslo-Nord.", "label": [[5, 14, "LOC"]]},
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def token_rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("-DOCSTART-")]


def spans(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """Returns the types and texts of the spans of rows of doccano, without white space."""
    return [
        [(kind, "".join(row["text"][start:end].split())) for start, end, kind in sorted(row["label"])] for row in rows
    ]


@pytest.mark.parametrize("middle", ["x.jsonl", "x.parquet", "x.conllu"])
def test_columns_through_another_format_are_the_same_columns(tmp_path: Path, middle: str) -> None:
    source = tmp_path / "a.conll"
    source.write_text(COLUMNS)
    tagger.convert(source, tmp_path / middle)
    summary = tagger.convert(tmp_path / middle, tmp_path / "b.conll")
    text = (tmp_path / "b.conll").read_text()
    assert [line for line in text.splitlines() if "DOCSTART" not in line and line] == [
        line for line in COLUMNS.splitlines() if "DOCSTART" not in line and line
    ]
    assert text.rindex("-DOCSTART-") > text.index("Bank")
    assert (summary.sentences, summary.tokens, dict(summary.spans)) == (3, 9, {"PER": 3, "LOC": 1, "ORG": 1})


def test_json_lines_from_columns_have_a_text_with_offsets(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(COLUMNS)
    tagger.convert(tmp_path / "a.conll", tmp_path / "b.jsonl")
    first, *_ = read_rows(tmp_path / "b.jsonl")
    assert first["text"] == "Ada Lovel met Eve Karr"
    assert [first["text"][span["start"] : span["end"]] for span in first["spans"]] == ["Ada Lovel", "Eve", "Karr"]
    assert [first["text"][start:end] for start, end in first["offsets"]] == first["tokens"]


def test_doccano_through_columns_has_the_same_spans(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", DOCCANO)
    tagger.convert(source, tmp_path / "b.conll")
    tagger.convert(tmp_path / "b.conll", tmp_path / "c.jsonl", output_format="doccano")
    written = [each for each in spans(read_rows(tmp_path / "c.jsonl")) if each]
    flat = [span for each in written for span in each]
    assert flat == [("PER", "AdaLovel"), ("ORG", "NorvexBank"), ("PER", "Eve"), ("LOC", "Oslo-Nord")]


def test_doccano_to_doccano_keeps_text_offsets_and_fields(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", DOCCANO)
    tagger.convert(source, tmp_path / "b.jsonl", output_format="doccano")
    assert read_rows(tmp_path / "b.jsonl") == DOCCANO
    tagger.convert(source, tmp_path / "c.jsonl", output_format="doccano", types="PER=PERSON,ORG=")
    assert spans(read_rows(tmp_path / "c.jsonl"))[0] == [("PERSON", "AdaLovel"), ("PERSON", "Eve")]


@pytest.mark.parametrize(
    ("types", "tags"),
    [
        ("PER=HUM", "B-HUM I-HUM O B-HUM B-HUM B-LOC I-ORG O O"),
        ("PER,LOC", "B-PER I-PER O B-PER B-PER B-LOC O O O"),
        ({"PER": "", "ORG": "LOC"}, "O O O O O B-LOC B-LOC O O"),
    ],
)
def test_types_are_renamed_kept_and_dropped(tmp_path: Path, types: Any, tags: str) -> None:
    source = tmp_path / "a.conll"
    source.write_text(COLUMNS)
    tagger.convert(source, tmp_path / "b.conll", types=types)
    written = [line.split("\t")[1] for line in token_rows(tmp_path / "b.conll") if line]
    assert written == tags.replace("I-ORG", "B-ORG").split()


def test_a_file_in_its_own_format_changes_only_in_its_tags(tmp_path: Path) -> None:
    source = tmp_path / "a.conll"
    source.write_text("# id 1\nAda  NNP  B-PER  x\nran  VBD  O  y\n\n")
    tagger.convert(source, tmp_path / "b.conll", tag_column=2, scheme="IOBES")
    assert (tmp_path / "b.conll").read_text() == "# id 1\nAda  NNP  S-PER  x\nran  VBD  O  y\n\n"


def test_tag_formats_are_converted(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada PER\nLovel PER\nran -\n\n")
    tagger.convert(
        tmp_path / "a.conll", tmp_path / "b.tsv", output_format="conllu", tag_format="types", outside_tag="-"
    )
    tagger.convert(tmp_path / "b.tsv", tmp_path / "c.conll", input_format="conllu")
    assert token_rows(tmp_path / "c.conll") == ["Ada\tB-PER", "Lovel\tI-PER", "ran\tO", ""]


def test_spaces_of_conllu_are_those_of_the_text(tmp_path: Path) -> None:
    rows = [
        "1\tAda\t_\t_\t_\t_\t_\t_\t_\tNER=B-PER|SpaceAfter=No",
        "2\t,\t_\t_\t_\t_\t_\t_\t_\t_",
        "3\tno\t_\t_\t_\t_\t_\t_\t_\t_",
    ]
    (tmp_path / "a.conllu").write_text("\n".join(rows) + "\n\n")
    tagger.convert(tmp_path / "a.conllu", tmp_path / "b.jsonl", output_format="doccano")
    assert read_rows(tmp_path / "b.jsonl") == [{"text": "Ada, no", "label": [[0, 3, "PER"]]}]


def test_several_files_become_one_or_one_each(tmp_path: Path) -> None:
    first, second = tmp_path / "a.conll", tmp_path / "b.csv"
    first.write_text("Ada B-PER\nran O")
    second.write_text("token,tag\nEve,B-PER\n")
    tagger.convert([first, second], tmp_path / "all.conll")
    written = (tmp_path / "all.conll").read_text()
    assert written == "Ada\tB-PER\nran\tO\n\n-DOCSTART- 0\n\nEve\tB-PER\n\n"
    (tmp_path / "out").mkdir()
    tagger.convert([first, second], tmp_path / "out", output_format="jsonl")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl", "b.jsonl"]


def test_an_input_is_never_overwritten_and_a_fault_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    source, out = tmp_path / "a.conll", tmp_path / "b.jsonl"
    source.write_text("Ada B-PER\n\nran PER\n")
    out.write_text("old")
    with pytest.raises(DataError, match="is an input, and `out` would overwrite it"):
        tagger.convert(source, source)
    with pytest.raises(DataError, match="would be overwritten by its own output"):
        tagger.convert(source, tmp_path, output_format="columns")
    with pytest.raises(DataError, match=r"a\.conll:3: found the tag 'PER'"):
        tagger.convert(source, out, tag_format="prefix")
    assert (source.read_text(), out.read_text()) == ("Ada B-PER\n\nran PER\n", "old")


def test_what_cannot_be_converted_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "a.conll"
    source.write_text("Ada NNP\nran VBD\n")
    with pytest.raises(ConfigError, match="`types` is for tags of spans"):
        tagger.convert(source, tmp_path / "b.conll", types="PER")
    with pytest.raises(ConfigError, match="doccano has spans only"):
        tagger.convert(source, tmp_path / "b.jsonl", output_format="doccano")
    with pytest.raises(ConfigError, match="the name shows no format"):
        tagger.convert(source, tmp_path / "b.unknown")
    with pytest.raises(ConfigError, match=r"`types`: found 'PER'; .* each once"):
        tagger.convert(source, tmp_path / "b.conll", types="PER=X,PER")
    source.write_text("Ada B-PER\n")
    with caplog.at_level("WARNING", logger="tagger"):
        tagger.convert(source, tmp_path / "b.conll", types="LOC=PLACE")
    assert "no span has the type LOC" in caplog.text


def test_a_folder_of_brat_has_one_document_per_text(tmp_path: Path) -> None:
    (tmp_path / "brat").mkdir()
    for name, text in (("x", "Ada ran.\n"), ("y", "Eve too.\n")):
        (tmp_path / "brat" / f"{name}.txt").write_text(text)
        (tmp_path / "brat" / f"{name}.ann").write_text(f"T1\tPER 0 3\t{text[:3]}\n")
    summary = tagger.convert(tmp_path / "brat", tmp_path / "b.jsonl", output_format="doccano")
    assert [(row["text"], row["label"]) for row in read_rows(tmp_path / "b.jsonl")] == [
        ("Ada ran.\n", [[0, 3, "PER"]]),
        ("Eve too.\n", [[0, 3, "PER"]]),
    ]
    assert summary.documents == 2


def test_tokens_that_were_not_annotated_keep_their_tag(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.conll").write_text("Ada B-PER\nmet ?\nEve B-PER\n")
    tagger.convert(tmp_path / "a.conll", tmp_path / "b.pipes", unknown_tag="?", scheme="IOBES", types="PER=HUM")
    assert (tmp_path / "b.pipes").read_text() == "Ada|S-HUM met|? Eve|S-HUM\n"
    tagger.convert(tmp_path / "a.conll", tmp_path / "c.spacy", unknown_tag="?")
    tagger.convert(tmp_path / "c.spacy", tmp_path / "d.pipes", unknown_tag="?")
    assert (tmp_path / "d.pipes").read_text() == "Ada|B-PER met|? Eve|B-PER\n"
    assert "not annotated" not in caplog.text


def test_rows_lose_the_annotation_of_their_source_but_no_other_field(tmp_path: Path) -> None:
    row = {"text": "Ada ran.", "entities": [{"start": 0, "end": 3, "label": "PER"}], "label": "sports", "n": 1}
    write_rows(tmp_path / "a.jsonl", [row])
    parquet.write_table(pa.table({name: [value] for name, value in row.items()}), tmp_path / "a.parquet")
    tagger.convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", types="PER=HUM")
    tagger.convert(tmp_path / "a.parquet", tmp_path / "b.parquet", types="PER=HUM")
    written = [*read_rows(tmp_path / "b.jsonl"), *parquet.read_table(tmp_path / "b.parquet").to_pylist()]
    assert [("entities" in each, each["label"], each["n"]) for each in written] == [(False, "sports", 1)] * 2
    for name in ("b.jsonl", "b.parquet", "a.parquet"):
        tagger.convert(tmp_path / name, tmp_path / "c.jsonl", output_format="doccano", types="PER=HUM")
        assert read_rows(tmp_path / "c.jsonl")[0]["label"] == [[0, 3, "HUM"]]


TEXTS = [
    {
        "text": "Ada  Quill, of Anglo-French Corp",
        "label": [[0, 10, "PER"], [15, 32, "ORG"]],
        "id": 7,
        "note": {"a": [1]},
    },
    {"text": "Bo ran.  Al sat.", "label": [[0, 2, "PER"], [9, 11, "PER"]], "id": 8, "note": None},
]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_text_survives_the_way_through_rows_of_tokens(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    (tmp_path / "out").mkdir()
    rows = tmp_path / "out" / f"b.{suffix}"
    tagger.convert(tmp_path / "a.jsonl", rows, types="PER=PERSON,ORG")
    tagger.convert(rows, tmp_path / f"c.{suffix}")
    tagger.convert(tmp_path / f"c.{suffix}", tmp_path / "d.jsonl", output_format="doccano")
    expected = [
        {**row, "label": [[*span[:2], span[2].replace("PER", "PERSON")] for span in row["label"]]} for row in TEXTS
    ]
    found = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in TEXTS[0]} for row in found] == expected
    tagger.convert(rows, tmp_path / "e.conll", scheme="IOBES")
    assert "S-PERSON" in (tmp_path / "e.conll").read_text()


def test_offsets_that_do_not_fit_the_text_are_ignored(tmp_path: Path) -> None:
    row = {"text": "Ada ran.", "tokens": ["Ada", "ran."], "tags": ["B-PER", "O"], "offsets": [[0, 3], [3, 7]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    tagger.convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", output_format="doccano")
    assert json.loads((tmp_path / "b.jsonl").read_text())["label"] == [[0, 3, "PER"]]


def paragraph(raw: str, *sentences: str) -> dict[str, Any]:
    """Returns a paragraph of spaCy 2 with the tokens `word/tag` of sentences."""
    tokens = [[token.rpartition("/") for token in sentence.split()] for sentence in sentences]
    return {"raw": raw, "sentences": [{"tokens": [{"orth": a, "ner": b} for a, _, b in each]} for each in tokens]}


def test_the_training_format_of_spacy_2_is_read_with_its_text(tmp_path: Path) -> None:
    first = paragraph("Ada Quill ran. Bo sat.", "Ada/B-PER Quill/L-PER ran/O ./O", "Bo/U-PER sat/O ./O")
    documents = [
        {"id": 3, "paragraphs": [first, paragraph("In  Oslo", "In/O Oslo/U-LOC")]},
        {"id": 4, "paragraphs": [first]},
    ]
    for content in (documents, documents[0]):
        (tmp_path / "a.json").write_text(json.dumps(content))
        tagger.convert(tmp_path / "a.json", tmp_path / "b.jsonl", output_format="doccano")
        row = json.loads((tmp_path / "b.jsonl").read_text().splitlines()[0])
        assert row["text"] == "Ada Quill ran. Bo sat.\n\nIn  Oslo"
        assert row["label"] == [[0, 9, "PER"], [15, 17, "PER"], [28, 32, "LOC"]]
        assert row["id"] == 3
    tagger.convert(tmp_path / "a.json", tmp_path / "c.conll", scheme="IOB2")
    assert (tmp_path / "c.conll").read_text().count("\n\n") == 4
    other = {"id": 1, "paragraphs": [paragraph("another text", "Ada/U-PER")]}
    (tmp_path / "a.json").write_text(json.dumps([other]))
    tagger.convert(tmp_path / "a.json", tmp_path / "b.jsonl", output_format="doccano")
    assert json.loads((tmp_path / "b.jsonl").read_text())["label"] == [[0, 3, "PER"]]
