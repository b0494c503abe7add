"""Files as tools document or write them have the same spans after a way through any format that holds spans."""

import json
from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

import tagger
from tagger.choices import OutputFormat, options

TEXT = "EU rejects German call. Peter Blackburn, BRUSSELS."
WORDS = ["EU", "rejects", "German", "call", ".", "Peter", "Blackburn", ",", "BRUSSELS", "."]
SPANS = [(0, 2, "ORG"), (11, 17, "MISC"), (24, 39, "PER"), (41, 49, "LOC")]
EXPECTED = [("ORG", "EU"), ("MISC", "German"), ("PER", "PeterBlackburn"), ("LOC", "BRUSSELS")]
TAGS = ["B-ORG", "O", "B-MISC", "O", "O", "B-PER", "I-PER", "O", "B-LOC", "O"]


def spacy_doc() -> Doc:
    spaces = [True, True, True, False, True, True, False, True, False, False]
    doc = Doc(Vocab(), words=WORDS, spaces=spaces)
    doc.set_ents([doc.char_span(start, end, label=kind) for start, end, kind in SPANS])
    return doc


def label_studio(start: int, end: int, kind: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [kind]}
    return {"id": f"{start}a", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def offsets(word: int) -> tuple[int, int]:
    (token,) = [token for token in spacy_doc() if token.i == word]
    return token.idx, token.idx + len(token)


LABEL_STUDIO = {
    "id": 1,
    "annotations": [
        {
            "id": 11,
            "completed_by": 1,
            "result": [label_studio(*span) for span in SPANS],
            "was_cancelled": False,
            "ground_truth": False,
        }
    ],
    "file_upload": "a.txt",
    "predictions": [],
    "data": {"text": TEXT},
    "meta": {},
}
PRODIGY = {
    "text": TEXT,
    "_input_hash": 1,
    "_task_hash": 2,
    "tokens": [
        {"text": word, "start": offsets(number)[0], "end": offsets(number)[1], "id": number, "ws": True}
        for number, word in enumerate(WORDS)
    ],
    "spans": [
        {"start": start, "end": end, "token_start": 0, "token_end": 0, "label": kind} for start, end, kind in SPANS
    ],
    "answer": "accept",
}
BRACKETS = ["(ORG)", "*", "(MISC)", "*", "*", "(PER*", "*)", "*", "(LOC)", "*"]
CONLL_2012 = "".join(
    f"bc/cctv/00/cctv_0001   0   {number}   {word}   NN   (TOP*)   -   -   -   Speaker#1   {tag}   -\n"
    for number, (word, tag) in enumerate(zip(WORDS, BRACKETS, strict=True))
)
TOOLS: dict[str, str] = {
    "doccano.jsonl": json.dumps({"id": 1, "text": TEXT, "label": SPANS}),
    "label-studio.json": json.dumps([LABEL_STUDIO], indent=2),
    "label-studio-min.json": json.dumps(
        [{"text": TEXT, "id": 1, "label": [label_studio(*span)["value"] for span in SPANS], "annotator": 1}]
    ),
    "prodigy.jsonl": json.dumps(PRODIGY),
    "spacy-doc.jsonl": json.dumps(spacy_doc().to_json()),
    "spacy-pairs.json": json.dumps([[TEXT, {"entities": SPANS}]]),
    "kaggle.csv": "Sentence #,Word,POS,Tag\n"
    + "".join(
        f'{"" if number else "Sentence: 1"},"{word}",NN,{tag}\n'
        for number, (word, tag) in enumerate(zip(WORDS, TAGS, strict=True))
    ),
    "candc.txt": " ".join(f"{word}|NN|{tag}" for word, tag in zip(WORDS, TAGS, strict=True)) + "\n",
    "ontonotes.conll": f"#begin document (bc/cctv/00/cctv_0001); part 000\n{CONLL_2012}\n#end document\n",
}


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "bin.spacy":
        DocBin(docs=[spacy_doc()]).to_disk(path)
    else:
        path.write_text(TOOLS[name])
    return path


def spans_of(path: Path, **options: Any) -> list[tuple[str, str]]:
    """Returns the types and texts of the spans of a file, without white space, through lines for doccano."""
    out = path.with_name(f"{path.name}.out")
    tagger.convert(path, out, output_format="doccano", **options)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [
        (kind, "".join(row["text"][start:end].split())) for row in rows for start, end, kind in sorted(row["label"])
    ]


READ_AS = {"doccano": "jsonl", "prodigy": "jsonl", "label-studio": "json"}


@pytest.mark.parametrize("middle", [name for name in options(OutputFormat) if name not in ("tsv", "html")])
@pytest.mark.parametrize("name", [*TOOLS, "bin.spacy"])
def test_spans_of_a_tool_survive_every_format(tmp_path: Path, name: str, middle: OutputFormat) -> None:
    path = write(tmp_path, name)
    columns = {"token_column": 3, "tag_column": 10} if name == "ontonotes.conll" else {}
    assert spans_of(path, **columns) == EXPECTED
    converted = tmp_path / "middle"
    tagger.convert(path, converted, output_format=middle, **columns)
    is_written_back = middle == "columns" and name == "ontonotes.conll"
    again = columns if is_written_back else {}
    assert spans_of(converted, input_format=READ_AS.get(middle, middle), **again) == EXPECTED


@pytest.mark.parametrize("middle", ["jsonl", "doccano", "label-studio", "prodigy", "parquet", "spacy"])
@pytest.mark.parametrize("name", [*TOOLS, "bin.spacy"])
def test_types_that_are_renamed_replace_those_of_the_tool(tmp_path: Path, name: str, middle: OutputFormat) -> None:
    columns = {"token_column": 3, "tag_column": 10} if name == "ontonotes.conll" else {}
    converted = tmp_path / "middle"
    tagger.convert(write(tmp_path, name), converted, output_format=middle, types="PER=PERSON,LOC=", **columns)
    expected = [("PERSON" if kind == "PER" else kind, text) for kind, text in EXPECTED if kind != "LOC"]
    assert spans_of(converted, input_format=READ_AS.get(middle, middle)) == expected


@pytest.mark.parametrize("name", [*TOOLS, "bin.spacy"])
def test_the_data_of_a_tool_can_be_checked_as_it_is(tmp_path: Path, name: str) -> None:
    result = tagger.check(write(tmp_path, name))
    assert result.parts[0].types == {"ORG": 1, "MISC": 1, "PER": 1, "LOC": 1}
    assert not result.has_errors
