"""Selection of what to annotate next: order, near-duplicates, locations, and tasks that come back as training data."""

import json
import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import pytest
from typer.testing import CliRunner

import tagger
from tagger import model_dir
from tagger.analysis import annotation_tasks, selection
from tagger.analysis.selection import SelectedItem, SelectionOptions, SelectionResult
from tagger.choices import AnnotationTool
from tagger.cli import app
from tagger.config.schema import Data
from tagger.data import tagged_files
from tagger.data.formats.text import splitter
from tagger.data.sentence import Record, Sentence, Span
from tagger.data.tagged_files import FileOptions
from tagger.errors import ConfigError, DataError
from tagger.jobs.inputs import Input
from tests.tagging.models import make_model

FILE = Input(Path("a.conll"), PurePath("a.conll"))
TEXT = "\ufeffAda lives in Oslo. 😀 Grace lives in New York.\r\n\r\nAlan lives in Lima !\n"
COLUMNS = "Alan\nlives\nin\nQuito\n.\n\nDonald\nlives\nin\nNew\nYork\n.\n"
CONLLU = "# newdoc id = d7\n" + "".join(
    f"{number}\t{word}\t_\t_\t_\t_\t_\t_\t_\t{misc}\n"
    for number, (word, misc) in enumerate(
        [("Barbara", "_"), ("lives", "_"), ("in", "_"), ("Cairo", "SpaceAfter=No"), (".", "_")], 1
    )
)


def records(rows: Sequence[tuple[str, float]], document: int = 0) -> list[tuple[Input, Record]]:
    """Returns a record for each sentence, with its uncertainty."""
    return [
        (
            FILE,
            Record((Sentence(tuple(text.split()), line=number, uncertainty=total),), document, number, numbered=True),
        )
        for number, (text, total) in enumerate(rows, 1)
    ]


def texts(result: SelectionResult) -> list[str]:
    return [item.text for item in result.items]


def jaccard(left: str, right: str) -> float:
    first, second = ({*zip(*(["^", *each.split(), "$"][start:] for start in range(3)))} for each in (left, right))  # noqa: B905
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 1.0])
def test_the_most_uncertain_sentences_are_selected_unless_similar_to_a_selected_or_seen_one(threshold: float) -> None:
    draw = random.Random(3)
    rows = [(" ".join(draw.choices("abcd", k=draw.randint(1, 6))), draw.random() * 10) for _ in range(400)]
    seen = rows[:20]
    ranked = sorted(rows, key=lambda row: -row[1] / len(row[0].split()))
    expected: list[str] = []
    for text, _ in ranked:
        if all(jaccard(text, other) < threshold for other in [*expected, *(text for text, _ in seen)]):
            expected.append(text)
    result = selection.select(records(rows), SelectionOptions(15, by="entropy", similarity=threshold), records(seen))
    assert len(expected) > 15
    assert texts(result) == expected[:15]
    assert [item.score for item in result.items] == sorted((item.score for item in result.items), reverse=True)
    assert result.seen
    assert (result.units, result.tokens) == (400, sum(len(text.split()) for text, _ in rows))


def test_of_equal_scores_the_first_wins_and_of_equal_sentences_the_most_uncertain() -> None:
    rows = [("x y", 2.0), ("p q", 2.0), ("X Y", 4.0), ("r s", 2.0), ("x y", 3.0)]
    result = selection.select(records(rows), SelectionOptions(3))
    assert texts(result) == ["X Y", "p q", "r s"]
    assert result.duplicates == 2


def test_memory_is_bounded_and_a_short_selection_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selection, "_SPARE_CANDIDATES", 0)
    built = []
    build = selection._build_item
    monkeypatch.setattr(selection, "_build_item", lambda *arguments: built.append(1) or build(*arguments))
    rows = [
        (f"w{'abcdefghij'[number // 100]} v{'abcdefghij'[number // 10 % 10]}", 1000.0 - number) for number in range(500)
    ]
    similar = [(f"same words in all of these sentences {name}", 9000.0) for name in "abcdefgh"]
    assert len(selection.select(records([*rows, *similar]), SelectionOptions(2)).items) == 1
    assert "selected 1 sentence instead of 2: near-duplicates fill the memory of 8 candidates" in caplog.text
    assert len(built) == 16
    assert len(selection.select(records(rows[:1] + similar[:1]), SelectionOptions(5)).items) == 2
    assert caplog.text.count("instead of") == 1


def test_a_document_is_scored_by_all_its_tokens_and_traced_to_its_file() -> None:
    groups = [
        records([("a b c d", 4.0), ("e", 6.0)], 0),
        records([("f g", 3.0)], 1),
        [(Input(None, PurePath("stdin")), record) for _, record in records([("h", 1.0)], 1)],
    ]
    result = selection.select(
        [pair for group in groups for pair in group], SelectionOptions(3, by="entropy", unit="document")
    )
    assert [(item.score, item.text, item.line) for item in result.items] == [
        (2.0, "a b c d\ne", 1),
        (1.5, "f g", 1),
        (1.0, "h", 1),
    ]
    assert [item.document for item in result.items] == ["a.conll#0", "a.conll#1", "standard input#1"]
    assert result.units == 3


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="`count` must be at least 1, got 0"):
        SelectionOptions(0)
    with pytest.raises(ConfigError, match="`similarity` must be above 0 and at most 1, got 0"):
        SelectionOptions(1, similarity=0)
    with pytest.raises(ConfigError, match="`by` must be entropy"):
        tagger.select("model", "a.txt", count=1, by="x")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Unlabelled files of four formats."""
    path = tmp_path / "in"
    path.mkdir()
    (path / "a.txt").write_bytes(TEXT.encode())
    (path / "b.conll").write_text(COLUMNS)
    (path / "c.conllu").write_text(CONLLU)
    (path / "d.jsonl").write_text(
        json.dumps({"id": "x", "text": "Grace lives in Oslo. Alan lives in New York."})
        + "\n"
        + json.dumps({"tokens": [["Edsger", "lives", "in", "Lima", "."], ["Ada", "lives", "in", "Quito", "."]]})
    )
    return path


@pytest.mark.parametrize("unit", ["sentence", "document"])
@pytest.mark.parametrize("by", ["entropy", "errors"])
def test_offsets_match_the_text_in_every_format(folder: Path, model_path: Path, unit: Any, by: Any) -> None:
    result = tagger.select(model_path, folder, count=20, unit=unit, by=by, similarity=1.0, device="cpu")
    assert len(result.items) == (10 if unit == "sentence" else 5)
    for item in result.items:
        assert item.spans()
        for span in item.spans():
            assert item.text[span["start"] : span["end"]] == span["text"]
        for sentence in item.sentences:
            assert [item.text[start:end] for start, end in sentence.offsets] == list(sentence.tokens)
    where = {
        (Path(item.file).name, item.line, item.document if isinstance(item.document, int) else Path(item.document).name)
        for item in result.items
    }
    if unit == "document":
        assert where == {
            ("a.txt", 1, "a.txt"),
            ("b.conll", 1, "b.conll#0"),
            ("c.conllu", 2, "d7"),
            ("d.jsonl", 1, "x"),
            ("d.jsonl", 2, "d.jsonl#1"),
        }
        found = {Path(item.file).name: item.text for item in result.items}
        assert found["a.txt"] == TEXT.strip("\ufeff\n").replace("\r\n\r\n", "\n\n")
        assert found["b.conll"] == "Alan lives in Quito .\nDonald lives in New York ."
        assert found["c.conllu"] == "Barbara lives in Cairo."
    else:
        assert {("a.txt", 3, "a.txt"), ("b.conll", 7, "b.conll#0")} < where


def corrected(task: dict[str, Any], tool: str) -> dict[str, Any]:
    """Returns the task as the tool exports it, after an annotator has annotated the word `lives` alone."""
    if tool == "jsonl" and "text" not in task:
        return task | {"spans": [{"type": "VERB", "start": 1, "end": 2}]}
    text = task["data"]["text"] if tool == "label-studio" else task["text"]
    start = text.index("lives")
    if tool == "doccano":
        return task | {"label": [[start, start + 5, "VERB"]]}
    if tool == "label-studio":
        value = {"start": start, "end": start + 5, "text": "lives", "labels": ["VERB"]}
        result = {"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
        return task | {"id": 1, "annotations": [{"id": 1, "completed_by": 1, "result": [result]}]}
    span = {"start": start, "end": start + 5}
    return task | {"spans": [span | {"label": "VERB", "type": "VERB"}], "answer": "accept"}


@pytest.mark.parametrize("tool", ["doccano", "label-studio", "prodigy", "jsonl"])
def test_selected_sentences_come_back_as_training_data(
    folder: Path, model_path: Path, tmp_path: Path, tool: AnnotationTool
) -> None:
    out = tmp_path / f"tasks.{'json' if tool == 'label-studio' else 'jsonl'}"
    result = tagger.select(model_path, folder, count=20, similarity=1.0, out=out, output_format=tool, device="cpu")
    data = out.read_text()
    tasks = json.loads(data) if tool == "label-studio" else [json.loads(line) for line in data.splitlines()]
    assert len(tasks) == len(result.items) == 10
    exported = [corrected(task, tool) for task in tasks]
    back = tmp_path / "back.json"
    back.write_text(json.dumps(exported))
    corpus = tagged_files.read_file(back, Data(), FileOptions(input_format="json"))
    assert [[(span.type, span.text) for span in sentence_spans(each)] for each in corpus.sentences] == [
        [("VERB", "lives")] for _ in result.items
    ]
    expected = [" ".join(item.sentences[0].tokens) for item in result.items]
    assert [" ".join(each.tokens) for each in corpus.sentences] == expected


def sentence_spans(sentence: Sentence) -> Sequence[Span]:
    from tagger.data import schemes

    return Sentence(sentence.tokens, spans=schemes.tags_to_spans(sentence.tags)).spans


def test_pre_annotations_have_the_shape_of_each_tool() -> None:
    (split,) = splitter("en")("In New York😀, yes")
    placed = Sentence(
        split.tokens,
        tags=("O", "B-LOC", "I-LOC", *"OOO"[: len(split) - 3]),
        spans=(Span("LOC", 1, 3, 0.5),),
        offsets=split.offsets,
        source=split.source,
    )
    item = SelectedItem(0.25, "In New York😀, yes", (placed,), False, "a.txt", 7, "a.txt")
    where = {"score": 0.25, "file": "a.txt", "line": 7, "document": "a.txt"}
    tasks = {
        tool: json.loads(annotation_tasks.dump([item], tool).strip(b"[]\n"))
        for tool in ("doccano", "label-studio", "prodigy", "jsonl")
    }
    end = 3 + len(" ".join(split.tokens[1:3]))
    surface = item.text[3:end]
    assert tasks["doccano"] == {"text": item.text, "label": [[3, end, "LOC"]]} | where
    assert tasks["jsonl"]["spans"] == [{"type": "LOC", "start": 3, "end": end, "text": surface, "probability": 0.5}]
    (prediction,) = tasks["label-studio"]["predictions"]
    assert tasks["label-studio"]["data"] == {"text": item.text} | where
    assert "score" not in prediction  # Label Studio takes it for a confidence
    assert prediction["result"][0]["value"] == {"start": 3, "end": end, "text": surface, "labels": ["LOC"]}
    assert tasks["prodigy"]["spans"] == [{"start": 3, "end": end, "token_start": 1, "token_end": 2, "label": "LOC"}]
    assert tasks["prodigy"]["meta"] == where
    rebuilt = "".join(token["text"] + " " * token["ws"] for token in tasks["prodigy"]["tokens"])
    assert rebuilt == item.text


def test_plain_tags_are_pre_annotations_of_single_tokens(tmp_path: Path) -> None:
    model = make_model(plain=3)
    model_dir.save(model, tmp_path / "model", {})
    (tmp_path / "a.txt").write_text("one two\nsix nine ten\n")
    result = tagger.select(tmp_path / "model", tmp_path / "a.txt", count=5, input_format="lines", device="cpu")
    assert sorted(texts(result)) == ["one two", "six nine ten"]
    for item in result.items:
        (sentence,) = item.sentences
        tasks = {
            tool: json.loads(annotation_tasks.dump([item], tool).strip(b"[]\n"))
            for tool in ("doccano", "label-studio", "prodigy", "jsonl")
        }
        expected = list(zip(sentence.tokens, sentence.tags, strict=True))
        assert [(item.text[start:end], tag) for start, end, tag in tasks["doccano"]["label"]] == expected
        (prediction,) = tasks["label-studio"]["predictions"]
        values = [each["value"] for each in prediction["result"]]
        assert [(value["text"], *value["labels"]) for value in values] == expected
        assert [each["score"] for each in prediction["result"]] == list(sentence.probabilities)
        assert [(each["token_start"], each["label"]) for each in tasks["prodigy"]["spans"]] == [
            (number, tag) for number, tag in enumerate(sentence.tags)
        ]
        assert (tasks["jsonl"]["tokens"], tasks["jsonl"]["tags"]) == (list(sentence.tokens), list(sentence.tags))


def test_the_command_writes_tasks_and_prints_the_table(folder: Path, model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "tasks.jsonl"
    command = ["select", str(folder / "b.conll"), "--model", str(model_path), "--count", "1", "--by", "margin"]
    done = CliRunner().invoke(app, [*command, "--device", "cpu", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "selected 1 of 2 sentences by margin; skipped" in done.stdout
    assert len(out.read_text().splitlines()) == 1
    printed = CliRunner().invoke(app, [*command, "--device", "cpu", "--seen", str(folder / "b.conll")])
    assert printed.stdout == ""
    assert "selected 0 of 2 sentences by margin; skipped 0 near-duplicates and 2 similar to seen data" in printed.stderr
    as_json = CliRunner().invoke(app, [*command, "--device", "cpu", "--out", str(out), "--json"])
    assert json.loads(as_json.stdout)["units"] == 2
    refused = CliRunner().invoke(app, [*command, "--json"])
    assert (refused.exit_code, refused.stderr.startswith("--json prints the result")) == (2, True)


def test_data_in_brat_that_was_seen_is_skipped(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "brat").mkdir()
    (tmp_path / "brat" / "a.txt").write_text("Ada lives in Oslo.\n")
    (tmp_path / "brat" / "a.ann").write_text("T1\tPER 0 3\tAda\n")
    (tmp_path / "b.txt").write_text("Ada lives in Oslo.\nGrace went home by train.\n")
    for seen in (tmp_path / "brat", tmp_path / "brat" / "a.ann", tmp_path / "brat" / "a.txt"):
        result = tagger.select(model_path, tmp_path / "b.txt", count=2, seen=seen, device="cpu")
        assert (texts(result), result.seen) == (["Grace went home by train."], 1)
    (tmp_path / "brat" / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.ann: has no text a\.txt beside it"):
        tagger.select(model_path, tmp_path / "b.txt", count=2, seen=tmp_path / "brat" / "a.ann", device="cpu")


def test_an_output_replaces_no_input_and_no_seen_file(folder: Path, model_path: Path) -> None:
    for arguments in ({"out": folder / "b.conll"}, {"out": folder / "a.txt", "seen": folder / "a.txt"}):
        with pytest.raises(DataError, match="is an input, and `out` would overwrite it"):
            tagger.select(model_path, folder / "b.conll", count=1, device="cpu", **arguments)  # type: ignore[arg-type]
    assert (folder / "b.conll").read_text() == COLUMNS


def test_standard_input_is_read_and_unreadable_records_are_set_apart(model_path: Path, tmp_path: Path) -> None:
    source = BytesIO(b'{"text": "Ada lives in Oslo."}\n{"text": 3}\n{"text": "Alan lives in New York."}\n')
    options = {"input_format": "jsonl", "device": "cpu", "stdin": source}
    rejects = tmp_path / "rejects.jsonl"
    result = tagger.select(model_path, "-", count=5, on_error="skip", rejects=rejects, **options)  # type: ignore[arg-type]
    assert [item.line for item in sorted(result.items, key=lambda item: item.line)] == [1, 3]
    assert len(rejects.read_text().splitlines()) == 1
    source.seek(0)
    with pytest.raises(DataError, match="standard input:2: expected a string"):
        tagger.select(model_path, "-", count=5, **options)  # type: ignore[arg-type]
