"""A few sentences are learned by heart, on a CPU in seconds, by every head and cell."""

from pathlib import Path

import pytest

from tagger import training
from tagger.config import Config, parse
from tests.conftest import TINY_RECIPE


@pytest.mark.parametrize(
    "changes", [[], ["model.head.kind=softmax"], ["model.encoder.cell=gru", "model.encoder.merge=sum"]]
)
def test_a_few_sentences_are_learned_to_an_f1_of_100(corpus_file: Path, tmp_path: Path, changes: list[str]) -> None:
    recipe = TINY_RECIPE.format(train=corpus_file, dev=corpus_file)
    config = parse(recipe, "tiny.yaml", overrides=["training.epochs=15", *changes])
    assert training.train(config, tmp_path / "run", device="cpu").dev.score == 100.0


def test_plain_tags_are_learned_to_an_accuracy_of_100(corpus_file: Path, tmp_path: Path) -> None:
    text = corpus_file.read_text().replace("B-PER", "NNP").replace("B-LOC", "NNP").replace("I-LOC", "NNP")
    corpus_file.write_text(text.replace("lives O", "lives VBZ").replace(" O", " X"))
    recipe = TINY_RECIPE.format(train=corpus_file, dev=corpus_file)
    config: Config = parse(recipe, "tiny.yaml", overrides=["training.epochs=10"])
    outcome = training.train(config, tmp_path / "run", device="cpu")
    assert outcome.dev.score == 100.0
