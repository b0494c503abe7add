"""A few sentences are learned by heart, on a CPU in seconds, by every head and cell."""

from io import BytesIO
from pathlib import Path

import pytest

import tagger
from tagger import Sentence, training
from tagger.errors import DataError
from tests.conftest import parse_tiny_recipe


@pytest.mark.parametrize(
    "changes", [[], ["model.head.kind=softmax"], ["model.encoder.cell=gru", "model.encoder.merge=sum"]]
)
def test_a_few_sentences_are_learned_to_an_f1_of_100(corpus_file: Path, tmp_path: Path, changes: list[str]) -> None:
    config = parse_tiny_recipe(corpus_file, "training.epochs=15", *changes)
    assert training.train(config, tmp_path / "run", device="cpu").dev.score == 100.0


def test_plain_tags_are_learned_to_an_accuracy_of_100(corpus_file: Path, tmp_path: Path) -> None:
    text = corpus_file.read_text().replace("B-PER", "NNP").replace("B-LOC", "NNP").replace("I-LOC", "NNP")
    corpus_file.write_text(text.replace("lives O", "lives VBZ").replace(" O", " X"))
    outcome = training.train(parse_tiny_recipe(corpus_file, "training.epochs=10"), tmp_path / "run", device="cpu")
    assert outcome.dev.score == 100.0


def test_untyped_tags_are_learned_scored_and_written_as_untyped_tags(corpus_file: Path, tmp_path: Path) -> None:
    corpus_file.write_text(corpus_file.read_text().replace("-PER", "").replace("-LOC", ""))
    gold = [line.split()[-1] for line in corpus_file.read_text().splitlines() if line]
    assert set(gold) == {"B", "I", "O"}
    config = parse_tiny_recipe(corpus_file, "training.epochs=15")
    result = training.train(config, tmp_path / "run", device="cpu")
    assert result.dev.f1 == 100.0
    model = tmp_path / "run" / "model-best"
    output = BytesIO()
    tagger.tag_files(model, corpus_file, scheme="IOB2", streams=(BytesIO(), output))
    assert output.getvalue() == corpus_file.read_bytes()
    sentence = tagger.load(model).tag(["Ada lives in New York"], nbest=1)[0]
    assert set(sentence.tags) | set(sentence.alternatives[0].tags) <= {"B", "I", "E", "S", "O"}
    assert {span.type for span in sentence.spans} == {"_"}
    written = sentence.to_dict()
    assert tagger.evaluate(model, [Sentence(sentence.tokens, tags=tuple(written["tags"]))]).f1 == 100.0


def test_a_model_of_spans_is_scored_on_a_file_in_another_tag_format(corpus_file: Path, tmp_path: Path) -> None:
    config = parse_tiny_recipe(corpus_file, "training.epochs=15")
    training.train(config, tmp_path / "run", device="cpu")
    other = tmp_path / "other.conll"
    other.write_text(corpus_file.read_text().replace("-", "_"))
    with pytest.raises(DataError, match=r"set data\.tag_format to prefix"):
        tagger.evaluate(tmp_path / "run" / "model-best", other)
    assert tagger.evaluate(tmp_path / "run" / "model-best", other, tag_format="prefix").f1 == 100.0
