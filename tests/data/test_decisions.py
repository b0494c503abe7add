"""Decisions that the page of an audit saved are applied to data in every format."""

import json
from pathlib import Path
from typing import Any

import pytest

import tagger
from tagger.choices import OutputFormat, options
from tagger.data.formats import FORMATS
from tagger.errors import DataError

ROWS = [
    {"text": "Ada Quill ran. Bo sat.", "label": [[0, 3, "PER"], [15, 17, "LOC"]]},
    {"text": "In Oslo it rained.", "label": []},
]


def decision(sentence: int, line: int, start: int, end: int, text: str, **changes: Any) -> dict[str, Any]:
    """Returns a saved decision; by default the span of type PER stays."""
    row = {"rank": 1, "kind": "span", "file": "a.jsonl", "document": 0, "sentence": sentence, "line": line}
    row |= {"start": start, "end": end, "text": text, "given": "PER", "alternative": None, "decision": "keep"}
    return row | changes


def span(kind: str, start: int, end: int, text: str) -> dict[str, Any]:
    return {"type": kind, "start": start, "end": end, "text": text}


LONGER = decision(0, 1, 0, 1, "Ada", alternative=span("PER", 0, 2, "Ada Quill"), decision="change")
OTHER_TYPE = decision(1, 1, 0, 1, "Bo", given="LOC", alternative=span("PER", 0, 1, "Bo"), decision="change")
ADDED = decision(2, 2, 1, 2, "Oslo", given=None, alternative=span("LOC", 1, 2, "Oslo"), decision="change")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def convert(folder: Path, out: Path, decisions: object, **named: Any) -> None:
    (folder / "decisions.json").write_text(json.dumps(decisions, indent=1))
    tagger.convert(folder / "a.jsonl", out, decisions=folder / "decisions.json", **named)


@pytest.mark.parametrize("to", [to for to in options(OutputFormat) if FORMATS[to].is_training_data or to == "doccano"])
def test_changes_are_made_in_every_format(folder: Path, to: OutputFormat) -> None:
    out = folder / "out" / "b"
    out.parent.mkdir()
    convert(folder, out, [LONGER, OTHER_TYPE, ADDED], output_format=to)
    tagger.convert(out, folder / "c.conll", input_format="jsonl" if to == "doccano" else to, scheme="IOB2")
    rows = [line.split("\t") for line in (folder / "c.conll").read_text().splitlines() if "\t" in line]
    assert [(row[0], row[-1]) for row in rows if row[-1] != "O"] == [
        ("Ada", "B-PER"), ("Quill", "I-PER"), ("Bo", "B-PER"), ("Oslo", "B-LOC")
    ]  # fmt: skip


def test_what_is_kept_and_a_span_that_is_removed(folder: Path) -> None:
    removed = decision(1, 1, 0, 1, "Bo", given="LOC", decision="change")
    convert(folder, folder / "b.jsonl", [LONGER | {"decision": "keep"}, removed], output_format="doccano")
    rows = [json.loads(line) for line in (folder / "b.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == [[[0, 3, "PER"]], []]


def test_plain_tags_are_changed_in_place_and_all_else_stays(tmp_path: Path) -> None:
    text = "# note\nAda X N\nran Y N\n\nBo X N\n"
    (tmp_path / "a.conll").write_text(text)
    change = decision(
        0, 3, 1, 2, "ran", file="a.conll", given="N", alternative=span("V", 1, 2, "ran"), decision="change"
    )
    (tmp_path / "d.json").write_text(json.dumps([change]))
    tagger.convert(tmp_path / "a.conll", tmp_path / "b.conll", decisions=tmp_path / "d.json")
    assert (tmp_path / "b.conll").read_text() == text.replace("ran Y N", "ran Y V")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (LONGER | {"text": "Eve"}, r"decisions.json:2: .*a.jsonl:1 does not have the annotation PER 'Eve' of line 1"),
        (LONGER | {"given": "ORG"}, "does not have the annotation ORG 'Ada' of line 1"),
        (LONGER | {"line": 2}, "does not have the annotation PER 'Ada' of line 2"),
        (LONGER | {"sentence": 9}, "decisions.json:2: a.jsonl has no sentence 9; the data have changed"),
        (LONGER | {"file": "z.conll"}, "decisions.json:2: z.conll is no input"),
        (LONGER | {"decision": "drop"}, "decisions.json:2: expected 'keep' or 'change' as 'decision', found \"drop\""),
        (LONGER | {"start": 1}, "decisions.json:2: expected a start before the end"),
        (LONGER | {"alternative": {"type": "PER"}}, "decisions.json:2: expected a text as 'text', found null"),
        ([1], r"decisions.json:2: expected an object in braces, found \[1\]"),
        (
            LONGER | {"given": None, "alternative": span("ORG", 0, 2, "Ada Quill")},
            "decisions.json:2: ORG 'Ada Quill' overlaps PER 'Ada' at .*a.jsonl:1; decide on one of them",
        ),
    ],
)
def test_unknown_and_outdated_decisions_are_errors_with_file_and_line(folder: Path, row: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        convert(folder, folder / "b.jsonl", [row])
    assert not (folder / "b.jsonl").exists()
