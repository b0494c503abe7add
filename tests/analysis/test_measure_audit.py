"""The script that corrupts labels and counts how many of them an audit ranks first."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tagger.data import schemes
from tagger.data.sentence import Sentence
from tagger.training import records

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_audit", PROJECT / "scripts" / "measure_audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_corruption_changes_one_annotation_in_its_way(script: ModuleType) -> None:
    tags = ("B-PER", "I-PER", "O", "O", "O", "B-LOC", "O", "O")
    sentences = [Sentence(tuple("abcdefgh"), tags=tags, document=number // 5) for number in range(100)]
    corrupted, corruptions = script.corrupt(sentences, 0.2, 1)
    assert [corruption.kind for corruption in corruptions] == ["type", "boundary", "removed", "invented"] * 10
    before, after = (
        {
            (number, span.type, span.start, span.end)
            for number, sentence in enumerate(side)
            for span in schemes.tags_to_spans(sentence.tags)
        }
        for side in (sentences, corrupted)
    )
    lost, gained = before - after, after - before
    assert (len(lost), len(gained)) == (30, 30)
    for kind, number, start, end in corruptions:
        new = [span for span in gained if span[0] == number and span[2:] == (start, end)]
        old = [span for span in lost if span[0] == number and span[2:] == (start, end)]
        assert (len(new) == 1, len(old) == 1) == {
            "type": (True, True),
            "boundary": (True, False),
            "removed": (False, True),
            "invented": (True, False),
        }[kind]
    assert script.corrupt(sentences, 0.2, 1)[1] == corruptions != script.corrupt(sentences, 0.2, 2)[1]


def test_recall_counts_each_corruption_once(script: ModuleType) -> None:
    kinds = ("type", "boundary", "removed", "invented")
    corruptions = [script.Corruption(kind, number, 2, 4) for number, kind in enumerate(kinds)]
    ranking = [
        script.Item(0, 2, 4, True),
        script.Item(0, 2, 4, True),  # again
        script.Item(1, 2, 3, True),  # another span
        script.Item(2, 3, 6, False),
        script.Item(3, 2, 4, False),  # the annotation itself must be suspected
    ]
    rows = {row["fraction"]: row for row in script.measure(ranking, corruptions)}
    assert (rows[0.25]["precision"], rows[0.25]["recall"]) == (1.0, 0.25)
    assert (rows[1.0]["precision"], rows[1.0]["recall"]) == (0.5, 0.5)
    assert [rows[3.0][kind] for kind in kinds] == [1.0, 0.0, 1.0, 0.0]


def test_an_audit_is_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "plot", lambda *_: None)
    sizes = ["--folds", "2", "--repeats", "1", "--sentences", "30", "--fraction", "0.2", "--epochs", "1"]
    files = ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "figures.json")]
    command = ["measure_audit.py", str(PROJECT / "configs" / "sample"), "--recipe", "sample", *sizes, *files]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert sum(figures["corruptions"].values()) >= 4
    fractions = [row["fraction"] for row in figures["rankings"]["tagger audit"]]
    assert fractions == [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
    assert "suspects  precision     recall" in capsys.readouterr().out
