"""The example for Presidio in the README of the integrations, run where Presidio is installed."""

import re
from pathlib import Path
from typing import Any

import pytest

import tagger

README = Path(tagger.__file__).parent / "integrations" / "README.md"
TEXT = "Ada lives in New York ."


@pytest.fixture(scope="module")
def recognizer(model_path: Path) -> Any:
    """The recognizer of the README for two types."""
    pytest.importorskip("presidio_analyzer", reason="the example for Presidio is not tested: no presidio-analyzer")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    code = next(block for block in blocks if "presidio_analyzer" in block)
    names: dict[str, Any] = {}
    exec(code.replace("MODEL", str(model_path)), names)
    return names["TaggerRecognizer"](["PER", "LOC"])


def list_entities(results: Any) -> list[tuple[str, str]]:
    return [(each.entity_type, TEXT[each.start : each.end]) for each in sorted(results, key=lambda each: each.start)]


def test_the_recognizer_of_the_readme_returns_the_spans_of_the_tagger(recognizer: Any) -> None:
    results = recognizer.analyze(TEXT, ["LOC"])
    assert list_entities(results) == [("LOC", "New York")]
    spans = recognizer.tagger.tag_text(TEXT, probabilities=True).spans
    assert [each.score for each in results] == [span.probability for span in spans if span.type == "LOC"]


def test_an_engine_of_presidio_runs_the_recognizer(recognizer: Any) -> None:
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    nlp_engine = SpacyNlpEngine([{"lang_code": "en", "model_name": "blank"}])
    nlp_engine.nlp = {"en": spacy.blank("en")}  # a model of spaCy would have to be downloaded
    registry = RecognizerRegistry(recognizers=[], supported_languages=["en"])
    engine = AnalyzerEngine(registry, nlp_engine, supported_languages=["en"])
    engine.registry.add_recognizer(recognizer)
    assert list_entities(engine.analyze(TEXT, "en")) == [("PER", "Ada"), ("LOC", "New York")]
    assert list_entities(engine.analyze(TEXT, "en", entities=["PER"])) == [("PER", "Ada")]
