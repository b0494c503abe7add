"""The scripts that measure calibrations and transformers, at small size."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from tagger.config import load
from tests.conftest import tiny_corpus

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_calibration_errors_and_broken_promises_are_measured(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    measure = importlib.import_module("measure_calibration")
    data = tmp_path / "dev.conll"
    data.write_text(tiny_corpus().replace("Ada B-PER", "Ada B-LOC"))
    out = tmp_path / "figures.json"
    monkeypatch.setattr(
        sys, "argv", ["measure", str(model_path), str(data), str(data), "--halves", "5", "--json", str(out)]
    )
    before = (model_path / "MANIFEST.json").read_bytes()
    measure.main()
    figures = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    assert set(figures["test"]) == {"before", "after"}
    assert figures["promise"]["draws"]["all"] <= 5
    assert figures["promise"]["mean precision"] >= 0
    assert (model_path / "MANIFEST.json").read_bytes() == before


@pytest.mark.parametrize("recipe", ["ner-conll2003", "pos-ewt"])
def test_the_settings_of_every_arm_with_a_transformer_are_valid(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    measure = importlib.import_module("measure_transformers")
    for arm in measure.ARMS:
        model = load(recipe, overrides=measure.arm_settings(arm, {"name": "some", "output_dim": 200})).model
        assert (model.transformer.name is None) == (arm == "static")
        assert (model.words.embedding_dim == 0) == (arm in ("alone", "recurrent", "finetuned"))
