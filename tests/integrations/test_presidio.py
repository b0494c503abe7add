"""The example for Presidio in the README of the integrations, run where Presidio is installed."""

import re
from pathlib import Path

import pytest

import tagger

README = Path(tagger.__file__).parent / "integrations" / "README.md"


def test_the_recognizer_of_the_readme_returns_the_spans_of_the_tagger(model_path: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="the example for Presidio is not tested: no presidio-analyzer")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    code = next(block for block in blocks if "presidio_analyzer" in block)
    names: dict[str, object] = {}
    exec(code.replace("MODEL", str(model_path)), names)
    text = "Ada lives in New York ."
    results = names["TaggerRecognizer"](["PER", "LOC"]).analyze(text, ["LOC"])  # type: ignore[operator]
    assert [(each.entity_type, text[each.start : each.end]) for each in results] == [("LOC", "New York")]
