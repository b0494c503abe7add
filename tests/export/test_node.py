"""The example in JavaScript: the same inputs, tags and probabilities as in Python."""

import itertools
import json
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tagger.data.calibration import Calibration
from tagger.data.vocab import casing, forms
from tests.tagging import models

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "onnx_node"
NODE = shutil.which("node")
PREPROCESS = """
import { casing, forms } from "./preprocessing.mjs";
let text = "";
for await (const part of process.stdin) text += part;
const known = JSON.parse(text).filter((word) => !/\\p{Cn}/u.test(word));
console.log(JSON.stringify(known.map((word) => [word, forms(word), casing(word)])));
"""
CHANGED = "\u0295\u10fc\ua7f2\ua7f3\ua7f4\uab69"
"""Characters whose case differs between Unicode 14 and 17."""

if NODE is None:
    pytest.skip("not tested, node is not installed: the example in JavaScript", allow_module_level=True)


def run(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [NODE or "node", *arguments], cwd=EXAMPLE, input=text, capture_output=True, encoding="utf-8", check=False
    )


def hard_words() -> list[str]:
    """Returns words of every character that may have a case or a value as a digit, and all contexts of a sigma."""
    characters = [
        character
        for number in range(0x110000)
        if (category := unicodedata.category(character := chr(number))) not in ("Cn", "Cs", "Co")
        and character not in CHANGED
        and (category != "Lo" or number % 64 == 0)
    ]
    words = [word for character in characters for word in (character, f"A{character}", f"{character}b")]
    for length in range(1, 5):
        words += map("".join, itertools.product("ΑΣa'.\u0301\u00ad1", repeat=length))
    return words


def test_lower_casing_digits_and_casing_are_the_same_in_javascript() -> None:
    done = run("--input-type=module", "-e", PREPROCESS, text=json.dumps(hard_words()))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) > 60_000
    assert [row for row in rows if row[1:] != [list(forms(row[0])), casing(row[0])]] == []


needs_packages = pytest.mark.skipif(
    not (EXAMPLE / "node_modules" / "onnxruntime-web").is_dir() or find_spec("onnx") is None,
    reason="not tested, onnxruntime-web from npm or the extra [onnx] is not installed: the example in JavaScript",
)


@needs_packages
@pytest.mark.slow
def test_the_example_in_javascript_gives_the_golden_tags(tmp_path: Path) -> None:
    from tagger.export.onnx import exporter

    thresholds = dict.fromkeys(("PER", "LOC"), ((0.05, 400, 380), (0.3, 300, 299)))
    model = models.make_model(document_context={"output_dim": 5}, casing=2)
    model = replace(model, calibration=Calibration(1.3, {"PER": 2.0}, thresholds))
    exporter.export(models.tagger(model), tmp_path / "onnx", sentences=20)
    done = run("tag.mjs", str(tmp_path / "onnx"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "11 golden examples, 0 differences" in done.stdout
    golden = tmp_path / "onnx" / "golden.json"
    examples = json.loads(golden.read_text())
    assert {"threshold", "precision"} < set(examples)
    examples["documents"][1][0]["tags"][0] = "X"
    golden.write_text(json.dumps(examples))
    done = run("tag.mjs", str(tmp_path / "onnx"))
    assert done.returncode == 1
    assert "11 golden examples, 1 differences" in done.stdout
