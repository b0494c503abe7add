"""Models without word vectors: what they refuse, and that they are trained, stored and read as all others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tagger import model_dir, training
from tagger.config import Config, parse
from tagger.data.vocab import SPECIAL, Vocab
from tagger.errors import ConfigError, ModelError
from tagger.experiments import seeds
from tagger.nn.embeddings import DocumentContext, TokenEmbedding
from tagger.nn.kernels.matmul import multiply
from tagger.tagging.cached_scorer import CachedScorer
from tagger.tagging.scorer import Scorer, TorchScorer
from tagger.tagging.scorer_choice import create_scorer
from tagger.tagging.transformer_runner import TransformerRunner
from tagger.training import corpora
from tagger.training.events import Event, StepEnd
from tests.robustness.runs import changed
from tests.robustness.test_hostile_tensors import put
from tests.tagging.models import CPU, make_model, sentences
from tests.transformer.tiny import write_transformer

NO_WORDS = "model.words={embedding_dim: 0}"
SGD = ("training.optimizer={kind: sgd, learning_rate: 0.05}", "training.ema_decay=0.9")
FEATURES: list[dict[str, Any]] = [
    {},
    {"casing": 5},
    {"characters": {"kind": "none"}, "casing": 5},
    {"encoder": {"num_layers": 0}},
]


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("{words: {embedding_dim: 0}, characters: {kind: none}}", "needs another feature: characters, casing or"),
        ("{words: {embedding_dim: 0, vectors: [a.txt]}}", "vectors has no effect with embedding_dim 0; omit it"),
        ("{words: {embedding_dim: 0, trainable: false}}", "trainable has no effect with embedding_dim 0"),
        ("{words: {embedding_dim: 0, max_frozen_words: 7}}", "max_frozen_words has no effect with embedding_dim 0"),
        ("{words: {embedding_dim: 0, dropout: 0.3}}", "dropout has no effect with embedding_dim 0"),
        (
            "{words: {embedding_dim: 0}, document_context: {output_dim: 9}}",
            "document_context has no effect with words.embed",
        ),
    ],
)
def test_settings_that_need_word_vectors_are_refused(model: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        parse(f"model: {model}", "recipe.yaml")
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)


def test_a_learning_rate_of_words_is_refused() -> None:
    text = "{model: {words: {embedding_dim: 0}}, training: {optimizer: {learning_rates: {words: 0.1}}}}"
    with pytest.raises(ConfigError, match=r"learning_rates\.words has no effect with model\.words\.embedding_dim 0"):
        parse(text, "recipe.yaml")


def test_files_of_word_vectors_are_refused(tiny_config: Config, tmp_path: Path) -> None:
    config = changed(tiny_config, NO_WORDS)
    with pytest.raises(ConfigError, match=r"`vectors` has no effect with model\.words\.embedding_dim 0"):
        corpora.with_paths(config, folder=None, parts={}, vectors=[tmp_path / "vectors.txt"])


@pytest.mark.parametrize("features", FEATURES)
def test_a_model_has_no_parameter_for_words_and_is_read_as_it_was_written(
    tmp_path: Path, features: dict[str, Any]
) -> None:
    model = make_model(words={"embedding_dim": 0}, **features)
    assert model.words.items == SPECIAL
    assert not [name for name in model.network.state_dict() if ".words." in name]
    model_dir.save(model, tmp_path / "model", {})
    loaded, _ = model_dir.load(tmp_path / "model")
    ours, theirs = loaded.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs | ours)
    assert model_dir.describe(tmp_path / "model")["words"] == "none"


def assert_same_scores(scorers: Sequence[Scorer]) -> None:
    """Checks the emissions of two scorers, padding excluded."""
    tokens = [sentence.tokens for sentence in sentences(12)]
    order = sorted(range(len(tokens)), key=lambda number: -len(tokens[number]))
    (expected, lengths), (actual, _) = (scorer.prepare(tokens, [0] * len(tokens)).score(order) for scorer in scorers)
    is_token = torch.arange(expected.shape[1]) < lengths[:, None]
    torch.testing.assert_close(actual[is_token], expected[is_token], atol=1e-4, rtol=0)


@pytest.mark.parametrize("features", FEATURES[:3])
def test_cached_scores_are_those_of_the_network(features: dict[str, Any]) -> None:
    model = make_model(words={"embedding_dim": 0}, **features)
    assert_same_scores([TorchScorer(model, CPU), CachedScorer(model)])


def test_a_product_over_no_columns_is_zero() -> None:
    """The memory at both addresses holds ones, which belong to other columns."""
    assert not multiply(np.ones((7, 1), np.float32)[:, :0], np.ones((2, 1, 16), np.float32)[:, :0]).any()


def test_document_context_without_word_vectors_is_refused() -> None:
    context = DocumentContext(3, 2, 4, dropout=0.0)
    with pytest.raises(ValueError, match="document context needs word vectors"):
        TokenEmbedding(None, None, None, context, word_dropout=0.0)


def test_a_model_directory_with_words_but_without_word_vectors_is_refused(tmp_path: Path) -> None:
    model_dir.save(make_model(words={"embedding_dim": 0}), tmp_path / "model", {})
    put(tmp_path / "model", Vocab((*SPECIAL, "Ada")).to_bytes(), "words.txt")
    with pytest.raises(ModelError, match=r"words\.txt: has words, but model\.words\.embedding_dim is 0"):
        model_dir.load(tmp_path / "model")


class _Stop:
    """Interrupts a training at its tenth step."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, event: Event) -> None:
        self.steps += isinstance(event, StepEnd)
        if self.steps == 10:
            raise KeyboardInterrupt


@pytest.mark.parametrize("overrides", [(), SGD])
def test_a_training_is_resumed_exactly(tiny_config: Config, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config = changed(tiny_config, NO_WORDS, "training.checkpoint_steps=1", *overrides)
    whole = training.train(config, tmp_path / "whole", device="cpu").model_dir
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "part", device="cpu", callback=_Stop())
    part = training.resume(tmp_path / "part", device="cpu").model_dir
    ours, theirs = (model_dir.load(each)[0].network.state_dict() for each in (part, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_training_starts_from_a_model_without_words_but_from_no_other(
    tiny_config: Config, tmp_path: Path, model_path: Path
) -> None:
    config = changed(tiny_config, NO_WORDS, "training.epochs=1")
    first = training.train(config, tmp_path / "first", device="cpu").model_dir
    seeds.train(config, (1, 2), tmp_path / "second", device="cpu", init_from=first)
    with pytest.raises(ConfigError, match="embedding_dim is 0 in the model and 16 in the recipe"):
        training.train(tiny_config, tmp_path / "third", device="cpu", init_from=first)
    with pytest.raises(ConfigError, match="embedding_dim is 16 in the model and 0 in the recipe"):
        training.train(config, tmp_path / "third", device="cpu", init_from=model_path)


@pytest.mark.parametrize("head", ["{}", "{num_layers: 0}"])
@pytest.mark.parametrize("trainable", [False, True])
def test_a_transformer_may_be_the_only_feature(tiny_config: Config, tmp_path: Path, head: str, trainable: bool) -> None:
    folder = write_transformer(tmp_path / "bert")
    config = changed(
        tiny_config,
        NO_WORDS,
        "model.characters={kind: none}",
        f"model.encoder={head}",
        "model.dropout={}",
        f"model.transformer={{name: {folder}, trainable: {str(trainable).lower()}}}",
        "training.epochs=1",
        *([] if trainable else [f"training.feature_cache={tmp_path}/cache"]),
    )
    model = model_dir.load(training.train(config, tmp_path / "run", device="cpu").model_dir)[0]
    scorer = create_scorer(model, CPU)
    assert isinstance(scorer, TorchScorer if "0" in head else CachedScorer)
    assert_same_scores([TorchScorer(model, CPU, TransformerRunner(model, CPU, None, threads=1)), scorer])
