"""The script that simulates annotation, at small size."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tagger.training import records
from tests.conftest import TINY_RECIPE, tiny_corpus

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("simulate_selection")


def test_the_size_that_chance_needs_is_interpolated(script: ModuleType) -> None:
    point = script.Point
    curves = {
        "entropy": [[point(50.0, 9), point(75.0, 30), point(f1, 50)] for f1 in (90.0, 92.0)],
        "random": [[point(50.0, 9), point(70.0, 20), point(80.0, 31)]] * 2,
    }
    rows = script.summarize([100, 200, 300], curves)
    assert [row["entropy"]["factor"] for row in rows] == [1.0, 1.25, None]
    assert rows[2]["entropy"] == {"f1": 91.0, "sd": 1.41, "tokens": 50, "factor": None}
    table = script.format_table(rows, list(curves)).splitlines()
    assert table[3].split() == ["200", "entropy", "75.00", "0.00", "30", "1.25", "x"]
    assert table[4].split() == ["200", "random", "70.00", "0.00", "20"]
    assert table[5].endswith("more")
    del curves["random"]
    assert script.summarize([100, 200, 300], curves)[1]["entropy"]["factor"] is None


def test_annotation_is_simulated(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "plot", lambda *_: None)
    data, recipe, out = tmp_path / "train.conll", tmp_path / "tiny.yaml", tmp_path / "figures.json"
    data.write_text(tiny_corpus())
    recipe.write_text(TINY_RECIPE.format(train=data, dev=data))
    sizes = ["--start", "8", "--add", "6", "--rounds", "1", "--seeds", "1", "--epochs", "2"]
    files = [str(data)] * 3 + ["--recipe", str(recipe), "--json", str(out), "--by", "entropy", "errors"]
    sizes_of_trainings = []
    train = script.train
    monkeypatch.setattr(
        script,
        "train",
        lambda sentences, *rest: sizes_of_trainings.append(len(set(sentences))) or train(sentences, *rest),
    )
    monkeypatch.setattr(sys, "argv", ["simulate_selection.py", *files, *sizes])
    script.main()
    figures = json.loads(out.read_text())
    assert sizes_of_trainings == [8, 14, 14, 14]
    assert figures["sizes"] == [8, 14]
    first, second, third = (figures["points"][by][0][0] for by in ("entropy", "errors", "random"))
    assert first == second == third
    assert [row["size"] for row in figures["by size"]] == [8, 14]
    assert "random needs" in capsys.readouterr().out
