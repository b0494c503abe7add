"""What `tagger tag` writes as rows is data to train on and to evaluate on."""

import json
from pathlib import Path

import pytest

import tagger
from tagger.choices import OutputFormat
from tagger.config import parse
from tagger.data.corpus import Corpus
from tagger.training import corpora

TEXT = "Ada lives in New York. Grace works in Oslo.\nAlan met Ada in  Paris!\n"
INPUTS = {
    "a.txt": TEXT,
    "a.jsonl": '{"text": "Ada lives in New York. Grace works.", "n": 1}\n{"tokens": [["Alan", "met"], ["Ada", "."]]}\n',
    "a.json": '[{"text": "Ada lives in New York.", "label": null}]',
    "a.conll": "Ada O\nlives O\n\nAlan O\nmet O\nAda O\n",
}


def train_part(path: Path) -> Corpus:
    return corpora.load(parse(f"data: {{train: {path}, dev: {path}}}", "recipe.yaml")).dev


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_tagged_rows_have_the_same_sentences_and_tags_when_read_as_training_data(
    model_path: Path, tmp_path: Path, name: str, output_format: OutputFormat
) -> None:
    (tmp_path / name).write_text(INPUTS[name])
    tagger.tag_files(model_path, tmp_path / name, out=tmp_path / "columns", output_format="columns")
    tagger.tag_files(model_path, tmp_path / name, out=tmp_path / "rows", output_format=output_format)
    (columns,), (rows,) = ((tmp_path / folder).iterdir() for folder in ("columns", "rows"))
    expected, found = train_part(columns), train_part(rows)
    assert [(one.tokens, one.tags) for one in found.sentences] == [(one.tokens, one.tags) for one in expected.sentences]
    assert any(tag != "O" for one in found.sentences for tag in one.tags)
    assert not found.notices
    report = tagger.evaluate(model_path, rows)
    assert (report.f1, report.accuracy, report.tokens) == (100, 100, expected.tokens)


def test_spans_alone_give_the_same_tags_as_tokens_and_tags(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    tagger.tag_files(model_path, tmp_path / "a.txt", out=tmp_path, output_format="jsonl")
    with (tmp_path / "a.jsonl").open() as lines, (tmp_path / "spans.jsonl").open("w") as spans:
        for row, text in zip(map(json.loads, lines), TEXT.splitlines(), strict=True):
            start = TEXT.index(text)  # offsets count the characters of the file
            moved = [span | {"start": span["start"] - start, "end": span["end"] - start} for span in row["spans"]]
            spans.write(json.dumps({"text": text, "spans": moved, "id": row["document"]}) + "\n")
    expected, found = train_part(tmp_path / "a.jsonl"), train_part(tmp_path / "spans.jsonl")
    as_spans = [tuple(one.replace("S-", "B-").replace("E-", "I-") for one in each.tags) for each in expected.sentences]
    assert [one.tags for one in found.sentences] == as_spans
    assert not found.notices
    assert tagger.evaluate(model_path, tmp_path / "spans.jsonl").f1 == 100
