"""The label audit: planted errors rank first, the folds hold whole documents, and a killed audit resumes."""

import json

import pytest

import tagger
from tagger.analysis.audit import Audit
from tagger.config import Config, parse
from tests.conftest import TINY_RECIPE, tiny_corpus

SETTINGS = ["training.epochs=20", "training.optimizer.learning_rate=0.02"]


def planted(text: str) -> str:
    """Returns a corpus with four wrong annotations, each in another document or sentence."""
    sentences = text.split("\n\n")
    number = {
        name: next(n for n, each in enumerate(sentences) if each.startswith(name)) for name in ("Ada", "Alan", "Donald")
    }
    changes = [
        (number["Ada"] + 1, "Oslo B-LOC", "Oslo B-PER"),  # another type
        (number["Alan"] + 3, "New B-LOC\nYork I-LOC", "New O\nYork B-LOC"),  # a moved boundary
        (number["Alan"] + 4, "Cairo B-LOC", "Cairo O"),  # a removed entity
        (number["Donald"] + 2, "lives O", "lives B-LOC"),  # an invented entity
    ]
    for index, right, wrong in changes:
        assert right in sentences[index]
        sentences[index] = sentences[index].replace(right, wrong)
    return "\n\n".join(sentences)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.conll").write_text(planted(tiny_corpus()))
    (folder / "dev.conll").write_text(tiny_corpus())
    return parse(
        TINY_RECIPE.format(train=folder / "train.conll", dev=folder / "dev.conll"), "tiny.yaml", overrides=SETTINGS
    )


@pytest.fixture(scope="module")
def result(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return tagger.audit(recipe, out=tmp_path_factory.mktemp("audit") / "out", folds=3, repeats=1)


def test_x(result):
    print(result)
    print(json.dumps(result.to_json(), indent=1))
    for row in result.files.suspects.read_text().splitlines()[:6]:
        print(row)
    print(result.files.weights.read_text()[:300])
    print(len(result.files.page.read_text()))
    print(result.weights)
    import shutil

    shutil.copy(result.files.page, "/tmp/audit.html")
