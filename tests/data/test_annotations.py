"""Annotated rows of annotation tools, of this toolkit and of data sets become tagged sentences."""

import json
from io import BytesIO
from pathlib import Path

import pytest

from tagger.choices import InputFormat
from tagger.data import reader
from tagger.data.formats import Layout
from tagger.data.formats.reading import AnnotationOptions, Fields
from tagger.data.notices import Notices
from tagger.data.sentence import Sentence
from tagger.errors import DataError

TEXT = "Ada Quill left Karsk."
TAGS = ("B-PER", "I-PER", "O", "B-LOC", "O")
TOKENS = ["Ada", "Quill", "left", "Karsk", "."]
SPANS = [(0, 9, "PER"), (15, 20, "LOC")]


def read(*rows: object, input_format: InputFormat = "jsonl", **options: object) -> tuple[list[Sentence], Notices]:
    """Returns the sentences of rows, and the notices."""
    notices = Notices()
    data = json.dumps(rows) if input_format == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    sentences = reader.read_sentences(
        BytesIO(data.encode()),
        input_format=input_format,
        layout=Layout(),
        tagged=True,
        name="a.jsonl",
        annotations=AnnotationOptions(**options),
        notices=notices,
    )
    return list(sentences), notices


def result(start: int, end: int, kind: str, **more: object) -> dict:
    return {"type": "labels", "value": {"start": start, "end": end, "text": TEXT[start:end], "labels": [kind]}} | more


def task(*annotations: dict, **data: str) -> dict:
    return {"id": 1, "data": data or {"text": TEXT}, "annotations": list(annotations)}


DONE = {"completed_by": 1, "result": [result(*span) for span in SPANS]}
OFFSETS = [[0, 3], [4, 9], [10, 14], [15, 20], [20, 21]]
OBJECTS = [{"start": start, "end": end, "label": kind} for start, end, kind in SPANS]

ROWS = {
    "doccano label": {"id": 7, "text": TEXT, "label": [list(span) for span in SPANS]},
    "doccano labels": {"text": TEXT, "labels": [list(span) for span in SPANS], "cats": []},
    "doccano entities": {
        "text": TEXT,
        "entities": [{"id": 1, "label": kind, "start_offset": start, "end_offset": end} for start, end, kind in SPANS],
        "relations": [],
    },
    "Label Studio": task(DONE),
    "Label Studio, e-mail": task(DONE | {"completed_by": {"id": 3, "email": "a@b.c"}}),
    "Label Studio, other field": task(DONE, body=TEXT),
    "Label Studio, cancelled": task(DONE | {"was_cancelled": True, "result": []}, DONE),
    "Label Studio JSON-min": {
        "id": 1,
        "text": TEXT,
        "annotator": 1,
        "label": [result(*span)["value"] for span in SPANS],
    },
    "Prodigy": {
        "text": TEXT,
        "tokens": [{"text": word, "id": number} for number, word in enumerate(TOKENS)],
        "spans": [one | {"token_start": 0, "token_end": 0} for one in OBJECTS],
        "answer": "accept",
    },
    "spaCy": {"text": TEXT, "entities": [list(span) for span in SPANS]},
    "spaCy pair": [TEXT, {"entities": [list(span) for span in SPANS]}],
    "spaCy Doc": {"text": TEXT, "ents": OBJECTS, "tokens": [{"id": 0, "start": 0, "end": 3}]},
    "own output of a text": {
        "text": TEXT,
        "tokens": TOKENS,
        "tags": list(TAGS),
        "spans": [{"type": kind, "start": start, "end": end, "text": TEXT[start:end]} for start, end, kind in SPANS],
        "offsets": OFFSETS,
        "sentences": [[0, 5]],
    },
    "own output of tokens": {
        "tokens": TOKENS,
        "tags": list(TAGS),
        "spans": [{"type": "PER", "start": 0, "end": 2}, {"type": "LOC", "start": 3, "end": 4}],
    },
    "tokens and tags": {"tokens": TOKENS, "ner_tags": list(TAGS)},
    "tokens and spans": {"tokens": TOKENS, "spans": [{"label": "PER", "start": 0, "end": 2}, [3, 4, "LOC"]]},
}


@pytest.mark.parametrize("input_format", ["jsonl", "json"])
@pytest.mark.parametrize("name", ROWS)
def test_the_rows_of_each_tool_are_read(name: str, input_format: InputFormat):
    (sentence,), _ = read(ROWS[name], input_format=input_format)
    assert (sentence.tokens, sentence.tags) == (tuple(TOKENS), TAGS)


def test_a_row_without_spans_has_only_outside_tags():
    sentences, notices = read({"text": "No. Never.", "label": []})
    assert [sentence.tags for sentence in sentences] == [("O", "O"), ("O", "O")]
    assert not notices


def test_each_record_is_a_document_unless_ids_say_otherwise():
    rows = [{"text": "a", "label": []}, {"text": "No. Never", "label": []}, {"text": "d", "label": [], "id": 5}]
    sentences, _ = read(*rows, {"text": "e", "label": [], "id": 5})
    assert [sentence.document for sentence in sentences] == [0, 1, 1, 2, 2]
    assert [sentence.line for sentence in sentences] == [1, 2, 2, 3, 4]


def test_names_of_fields_can_be_chosen():
    row = {"body": TEXT, "marks": [{"from": 0, "to": 9, "what": "PER"}], "label": "news"}
    fields = Fields(text="body", spans="marks", start="from", end="to", type="what")
    assert read(row, fields=fields)[0][0].tags == ("B-PER", "I-PER", "O", "O", "O")
    row = {"words": TOKENS, "pos": TAGS, "tags": ["x"]}
    assert read(row, fields=Fields(tokens="words", tags="pos"))[0][0].tags == TAGS


def test_numbers_as_tags_need_names():
    row = {"tokens": ["a", "b"], "ner_tags": [0, 1]}
    assert read(row, tag_names=("O", "B-X"))[0][0].tags == ("O", "B-X")
    with pytest.raises(DataError, match=r"a\.jsonl:1: the tag 0 in 'ner_tags' has no name; data\.tag_names"):
        read(row)


def test_sentences_of_tokens_stay_apart():
    sentences, _ = read({"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["B-X", "O"]]})
    assert [sentence.tags for sentence in sentences] == [("O",), ("B-X", "O")]
    sentences, _ = read({"tokens": ["a", "b", "c"], "tags": ["O", "B-X", "O"], "sentences": [[0, 1], [1, 3]]})
    assert [sentence.tokens for sentence in sentences] == [("a",), ("b", "c")]


def test_of_several_annotators_one_is_chosen_or_the_record_is_refused():
    other = {"completed_by": 2, "result": []}
    with pytest.raises(DataError, match=r"annotators 1, 2; choose one with data\.annotator"):
        read(task(DONE, other))
    assert read(task(DONE, other), annotator="1")[0][0].tags == TAGS
    assert read(task(DONE, other), annotator="2")[0][0].tags == ("O",) * 5
    sentences, notices = read(task(DONE, other), annotator="3")
    assert (sentences, notices.counts) == ([], {"records of other annotators": 1})


def test_rows_of_several_annotators_are_one_record():
    rows = [{"id": 1, "text": TEXT, "label": [], "annotator": name} for name in (1, 2)]
    with pytest.raises(DataError, match=r"a\.jsonl:2: the record has annotations by the annotators 1, 2"):
        read(*rows)
    sentences, notices = read(*rows, annotator="2")
    assert (len(sentences), notices.counts) == (1, {"records of other annotators": 1})


def test_rejected_and_unfinished_records_are_skipped_and_counted():
    rows = [{"text": "a", "spans": [], "answer": answer} for answer in ("reject", "ignore", "accept", "reject")]
    sentences, notices = read(*rows, task())
    assert len(sentences) == 1
    expected = {
        "records with the answer reject": 2,
        "records with the answer ignore": 1,
        "records without an annotation": 1,
    }
    assert notices.counts == expected


@pytest.mark.parametrize(
    ("row", "described"),
    [
        ({"text": TEXT}, "'text'"),
        ({"text": TEXT, "label": None}, "'text', 'label' (null)"),
        ({"tokens": TOKENS, "ner_tags": None}, "'tokens', 'ner_tags' (null)"),
        ([TEXT, {"entities": None}], "'text', 'entities' (null)"),
    ],
)
def test_a_record_without_an_annotation_is_skipped_and_counted(row: object, described: str):
    sentences, notices = read(row, {"text": "No.", "label": []})
    assert [sentence.tokens for sentence in sentences] == [("No", ".")]
    (line,) = notices.lines()
    assert line.startswith("records without an annotation (1): a.jsonl:1: skipped; expected an annotation in 'spans', ")
    assert line.endswith(f"'tags' or 'ner_tags', found {described}; data.fields names the fields")


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "_input_hash": 3, "answer": "accept"},
        {"text": TEXT, "spans": None, "answer": "accept"},
        {"id": 1, "text": TEXT, "annotator": 1, "annotation_id": 1, "lead_time": 2.5},
    ],
)
def test_tools_that_leave_out_an_empty_list_of_spans_have_annotated_the_record(row: dict):
    sentences, notices = read(row)
    assert (sentences[0].tags, notices.counts) == (("O",) * 5, {})


def test_of_records_without_an_annotation_alone_nothing_is_trained(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 2)
    with pytest.raises(
        DataError, match=r"holds no sentence; records without an annotation \(2\): .*data\.fields names"
    ):
        reader.read_corpus(tmp_path / "a.jsonl", input_format="jsonl", layout=Layout())


def test_results_that_are_no_spans_are_left_out_and_counted():
    choice = {"type": "choices", "value": {"choices": ["news"]}}
    (sentence,), notices = read(task(DONE | {"result": [*DONE["result"], choice]}))
    assert (sentence.tags, notices.counts) == (TAGS, {"results of another kind than spans": 1})


@pytest.mark.parametrize(
    ("span", "tags", "notice"),
    [
        ([1, 9, "X"], ("B-X", "I-X", "O", "O", "O"), "misaligned spans (1): a.jsonl:1: X 1-9 'da Quill' becomes 0-9"),
        (
            [3, 9, "X"],
            ("O", "B-X", "O", "O", "O"),
            "spans with white space at an edge (1): a.jsonl:1: X 3-9 ' Quill' becomes 4-9",
        ),
        ([4, 4, "X"], ("O",) * 5, "empty spans (1): a.jsonl:1: X 4-4 '' is dropped"),
        ([15, 99, "X"], ("O",) * 5, "spans out of range (1): a.jsonl:1: X 15-99 'Karsk.' is dropped"),
    ],
)
def test_what_happens_to_a_span_is_reported_with_file_line_and_text(span: list, tags: tuple, notice: str):
    (sentence,), notices = read({"text": TEXT, "label": [span]})
    assert sentence.tags == tags
    assert list(notices.lines()) == [notice]
    if "white space" in notice:
        assert read({"text": TEXT, "label": [span]}, misaligned="stop")[0] == [sentence]
    else:
        with pytest.raises(DataError, match=r"a\.jsonl:1: found .*: X .* choose another `misaligned` than stop"):
            read({"text": TEXT, "label": [span]}, misaligned="stop")


def test_overlapping_and_repeated_spans_are_resolved_and_reported_even_if_misaligned_ones_stop():
    label = [[0, 3, "X"], [0, 9, "Y"], [0, 9, "Y"]]
    for policy in ("expand", "stop"):
        (sentence,), notices = read({"text": TEXT, "label": label}, misaligned=policy)
        assert sentence.tags[:2] == ("B-Y", "I-Y")
        assert sorted(notices.counts.items()) == [("duplicated spans", 1), ("overlapping spans", 1)]


def test_a_span_within_a_token_has_nothing_to_contract_to():
    _, notices = read({"text": TEXT, "label": [[1, 3, "X"]]}, misaligned="contract")
    assert list(notices.lines()) == ["misaligned spans (1): a.jsonl:1: X 1-3 'da' is dropped; it has no whole token"]


def test_a_span_across_sentences_joins_them_and_is_reported():
    sentences, notices = read({"text": "He met Dr. No. She left.", "label": [[3, 18, "X"]]}, misaligned="stop")
    assert [sentence.tags for sentence in sentences] == [("O", *["B-X"], "I-X", "I-X", "I-X", "I-X", "O", "O")]
    assert [len(sentence.offsets) for sentence in sentences] == [8]
    assert list(notices.lines()) == [
        "spans across sentences (1): a.jsonl:1: X 3-18 'met Dr. No. She' joins its sentences"
    ]


def test_offsets_in_utf16_units_are_recognized_by_the_text_of_the_span():
    text = "😀 Ada left Karsk."
    span = {"start": 3, "end": 6, "label": "PER", "text": "Ada"}
    (sentence,), notices = read({"text": text, "spans": [span]})
    assert sentence.tags == ("O", "B-PER", "O", "O", "O")
    assert list(notices.lines()) == [
        "spans whose offsets count UTF-16 units (1): a.jsonl:1: PER 3-6 'da ' becomes 2-5",
    ]
    _, notices = read({"text": text, "spans": [span | {"text": "Karsk"}]})
    assert "spans that cover another text than annotated" in notices.counts


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"label": []}, "expected 'text' or 'tokens', found 'label'"),
        ({"text": TEXT, "label": ["PER"]}, 'expected .start, end, type. or an object as a span, found "PER"'),
        ({"text": TEXT, "label": [["0", 3, "PER"]]}, "expected a span with start, end and type"),
        (
            {"text": TEXT, "label": [{"start": 0, "end": True, "label": "X"}]},
            "expected a span with start, end and type",
        ),
        ({"text": TEXT, "label": [[0, 3, ""]]}, "expected a span with start, end and type"),
        (
            {"text": TEXT, "label": [], "entities": []},
            r"annotations in 'label' and 'entities'; choose with data\.fields\.spans",
        ),
        (
            {"tokens": ["a"], "tags": ["O"], "ner_tags": ["O"]},
            r"tags in 'tags' and 'ner_tags'; choose with data\.fields",
        ),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "expected 1 tags in 'tags', one per token, found 2"),
        ({"tokens": [["a"]], "tags": [["O", "O"]]}, "expected as many lists of tags in 'tags' as of tokens"),
        ({"tokens": ["a"], "tags": [["O"], 3]}, "expected as many lists of tags in 'tags' as of tokens"),
        ({"tokens": ["a"], "tags": [None]}, "expected a string as a tag in 'tags', found null"),
        ({"tokens": ["a\n"], "tags": ["O"]}, "has a line break; expected words"),
        ({"text": "a\ud800", "label": []}, "half a character"),
        ({"text": 5, "label": []}, "expected a string as 'text', found 5"),
        (
            {"data": {"a": "x", "b": "y"}, "annotations": [DONE]},
            r"expected a text as 'text', found 'a', 'b'; data\.fields\.text",
        ),
        ({"data": {"text": "x"}, "annotations": [{"result": None}]}, "expected an annotation with a list 'result'"),
        ({"data": {"text": "x"}, "annotations": [{"result": [3]}]}, "expected an object as a result, found 3"),
        (ROWS["own output of a text"] | {"spans": []}, "the annotations in 'tags' and 'spans' differ; choose one"),
        (ROWS["own output of tokens"] | {"spans": [[0, 1, "PER"], [3, 4, "LOC"]]}, "'tags' and 'spans' differ"),
        ([1, 2], r"expected an object in braces, found \[1, 2\]"),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_that_says_what_was_found(row: object, fault: str):
    with pytest.raises(DataError, match=rf"^a\.jsonl:2: .*{fault}"):
        read({"text": "a", "label": []}, row)


@pytest.mark.parametrize(
    "content",
    [
        '[\n {"text": "Ada.", "label": [[0, 3, "X"]]},\n {"text": "no", "label": []}\n]',
        '{"version": 2, "data": [\n{"text": "Ada.", "label": [[0, 3, "X"]]},\n{"text": "no", "label": []}]}',
        '\ufeff{"text": "Ada.", "label": [[0, 3, "X"]]} \n\n{"text": "no",\n"label": []}',
        '{"classes": ["X"], "annotations": [["Ada.", {"entities": [[0, 3, "X"]]}], null, ["no", {"entities": []}]]}',
    ],
)
def test_json_is_an_array_an_object_with_an_array_or_records_one_after_another(tmp_path: Path, content: str):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    found = reader.read_corpus(tmp_path / "a.json", input_format="json", layout=Layout())
    assert [(sentence.tokens, sentence.tags) for sentence in found.sentences] == [
        (("Ada", "."), ("B-X", "O")),
        (("no",), ("O",)),
    ]
    assert [sentence.document for sentence in found.sentences] == [0, 1]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('[{"text": "a", "label": []}', "a.json: not JSON: Expecting ',' delimiter at character 28"),
        ('[\n{"text": "a", "label": []},\n{"text": 3}]', "a.json:3: expected a string as 'text', found 3"),
        ("[] x", "a.json: not JSON: Extra data at character 4"),
        (
            '{"a": [{}], "b": [{}]}',
            "a.json: expected an array of records, or an object with one such array, found 'a', 'b'",
        ),
        ("3", "a.json: expected an array of records, or an object with one such array, found 3"),
        ("[]", "a.json: holds no sentence"),
        ("[null]", "a.json: holds no sentence; records that are null .1.: .*a.json:1: skipped"),
        ('[{"text": "a", "text": "b"}]', "a.json: the key 'text' occurs twice"),
    ],
)
def test_json_without_records_is_one_clear_error(tmp_path: Path, content: str, fault: str):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=fault):
        reader.read_corpus(tmp_path / "a.json", input_format="json", layout=Layout())


@pytest.mark.parametrize("row", [ROWS["doccano label"], {"tokens": TOKENS, "tags": TAGS}])
def test_a_record_may_state_the_types_that_it_was_annotated_for(row: dict) -> None:
    (stated, every), _ = read(row | {"annotated_types": ["PER", "LOC"]}, row)
    assert stated.annotated_types == ("PER", "LOC")
    assert every.annotated_types is None
    with pytest.raises(DataError, match="expected a list of types as 'annotated_types', found \"PER\""):
        read(row | {"annotated_types": "PER"})
