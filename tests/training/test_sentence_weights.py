"""Sentence weights: factors of the loss, read from a file that belongs to the training data."""

import json
from pathlib import Path

import pytest
import torch

from tagger import config, model_dir, training
from tagger.config import Config
from tagger.data.corpus import Corpus
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError, DataError, ModelError
from tagger.training import corpora, records, sentence_weights
from tests.robustness.runs import changed, results

SENTENCES = tuple(Sentence((word, "ran"), tags=("B-PER", "O"), line=3 * n + 1) for n, word in enumerate(("Ada", "Bo")))
CORPUS = Corpus("train.txt", SENTENCES)


@pytest.fixture(autouse=True)
def _no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "plot", lambda *_: None)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def weighted(tiny_config: Config, path: Path, *overrides: str) -> Config:
    return changed(tiny_config, f"training.sentence_weights={path}", *overrides)


def test_a_row_is_a_number_or_an_object_and_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.jsonl", 0, "", {"weight": 2.5, "note": "any"})
    assert tuple(sentence_weights.read(path, CORPUS)) == (0.0, 2.5)
    path.write_bytes(sentence_weights.dump(SENTENCES, (0.49, 1.0)))
    assert tuple(sentence_weights.read(path, CORPUS)) == (0.49, 1.0)
    assert [json.loads(row)["line"] for row in path.read_text().splitlines()] == [1, 4]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([1], r"expected a weight for each of the 2 sentences of train.txt, found 1"),
        ([1, 1, 1], "2 sentences of train.txt, found 3"),
        ([1, -1], r":2: expected a weight from 0 to 1,000,000, found -1"),
        ([1, "NaN"], r":2: NaN is not a JSON number"),
        ([1, {"wait": 1}], ":2: expected a number, or an object with the number 'weight'"),
        ([True, 1], ":1: expected a number"),
        ([0, 0], "every weight is 0"),
        ([1, {"weight": 1, "sha256": "0" * 16}], ":2: the weight is of another sentence than train.txt:4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(rows: list[object], fault: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=fault):
        sentence_weights.read(write(tmp_path / "weights.jsonl", *rows), CORPUS)


def test_weights_of_other_tags_are_refused_at_their_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.jsonl"
    path.write_bytes(sentence_weights.dump(SENTENCES, (1.0, 0.7)))
    corrected = Corpus("train.txt", (SENTENCES[0], Sentence(("Bo", "ran"), tags=("O", "O"), line=4)))
    with pytest.raises(DataError, match=r"weights.jsonl:2: .* than train.txt:4, or its tokens or tags have changed"):
        sentence_weights.read(path, corrected)


@pytest.mark.parametrize("gold", [torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 2, 3, dtype=torch.bool)])
def test_weights_multiply_the_loss_of_each_sentence(gold: torch.Tensor, model_path: Path) -> None:
    network = model_dir.load(model_path)[0].network
    tags = network.projection.out_features
    emissions, lengths = torch.randn(2, 2, tags), torch.tensor([2, 1])
    if gold.dim() == 3:
        gold = torch.zeros(2, 2, tags, dtype=torch.bool)
        gold[:, :, :2] = True
    each = [network.loss(emissions[n : n + 1], gold[n : n + 1], lengths[n : n + 1]).item() for n in (0, 1)]
    loss = network.loss(emissions, gold, lengths, torch.tensor([0.5, 2.0]))
    assert loss.item() == pytest.approx((0.5 * each[0] + 2 * each[1]) / 2)


def test_equal_weights_train_the_same_weights_as_none_and_others_do_not(tiny_config: Config, tmp_path: Path) -> None:
    def train(name: str, *weights: float) -> object:
        path = write(tmp_path / name, *weights)
        recipe = weighted(tiny_config, path) if weights else tiny_config
        return results(training.train(changed(recipe, "training.epochs=1"), tmp_path / f"run-{name}").run_dir)["best"]

    plain = train("none")
    assert train("ones", *[1.0] * 36) == plain
    assert train("others", *[1.0] * 35, 0.5) != plain


def test_weights_follow_their_sentences_into_a_part_of_the_data(tiny_config: Config, tmp_path: Path) -> None:
    path = write(tmp_path / "weights.jsonl", *[number / 10 for number in range(36)])
    whole = corpora.load(weighted(tiny_config, path))
    assert whole.weights is not None
    by_tokens = dict(zip([sentence.tokens for sentence in whole.train.sentences], whole.weights, strict=True))
    part = corpora.load(weighted(tiny_config, path, "data.dev=null"), range(1, 36, 2))
    assert part.weights is not None
    assert [by_tokens[sentence.tokens] for sentence in part.train.sentences] == list(part.weights)
    assert len(part.train.sentences) + len(part.dev.sentences) == 18


def test_a_resumed_training_requires_the_same_weights(tiny_config: Config, tmp_path: Path) -> None:
    path, run = write(tmp_path / "weights.jsonl", *[1.0] * 35, 0.5), tmp_path / "run"
    recipe = weighted(tiny_config, path, "training.epochs=1")
    training.train(recipe, run)
    assert "sentence_weights: null" in (run / "model-best" / "config.yaml").read_text()
    write(path, *[1.0] * 35, 0.6)
    with pytest.raises(
        ModelError, match=r"the file of training\.sentence_weights has changed since the training began"
    ):
        training.resume(run, config=changed(recipe, "training.epochs=2"))
    with pytest.raises(ModelError, match=r"the training began with training\.sentence_weights; resume it with"):
        training.resume(run, config=changed(recipe, "training.sentence_weights=null"))
    moved = write(tmp_path / "moved.jsonl", *[1.0] * 35, 0.5)
    result = training.resume(run, config=weighted(tiny_config, moved, "training.epochs=2"))
    assert len(result.history) == 2


def test_the_path_of_a_recipe_starts_from_its_folder_and_that_of_an_override_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text("training: {sentence_weights: weights.jsonl}\n")
    monkeypatch.chdir(tmp_path.parent)
    recipe = str(tmp_path / "recipe.yaml")
    assert config.load(recipe).training.sentence_weights == str(tmp_path / "weights.jsonl")
    overridden = config.load(recipe, ["training.sentence_weights=w.jsonl"])
    assert overridden.training.sentence_weights == str(tmp_path.parent / "w.jsonl")


def test_a_missing_file_is_named(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises((DataError, ConfigError), match=r"nowhere.jsonl: "):
        corpora.load(weighted(tiny_config, tmp_path / "nowhere.jsonl"))
