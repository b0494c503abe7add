"""Everything that uses a model works with a transformer: other processes, texts, long sentences, files, calibration."""

import pickle
from pathlib import Path

import pytest
import torch

import tagger
from tagger import model_dir
from tagger.config import parse
from tagger.data.calibration import Calibration
from tagger.data.sentence import Sentence
from tagger.errors import ConfigError
from tagger.model import build_model
from tagger.tagging import Tagger, load
from tagger.tagging.scorer import TorchScorer
from tagger.tagging.transformer_runner import TransformerRunner
from tagger.transformer import library
from tests.tagging import test_fork
from tests.transformer.tiny import write_transformer

RECIPE = """
data: {{train: train.conll}}
model:
  words: {{embedding_dim: 4}}
  characters: {{kind: none}}
  encoder: {{hidden_size: 4}}
  transformer: {{name: {folder}/bert, trainable: {trainable}}}
"""
TEXTS = ["Ada lives in Oslo", "Grace sees New York", "Alan believes Ada"]
FILES = ("transformer.json", "transformer-config.json", "transformer-tokenizer.json", "transformer.safetensors")


@pytest.fixture(scope="module", params=["false", "true"], ids=["frozen", "trainable"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with a frozen or trainable transformer."""
    folder = tmp_path_factory.mktemp("model")
    write_transformer(folder / "bert")
    return save_untrained(folder, request.param, seed=1)


def save_untrained(folder: Path, trainable: str, *, seed: int) -> Path:
    """Writes an untrained model with the transformer of a folder, and returns its directory."""
    transformer = library.load(str(folder / "bert"))
    corpus = [Sentence(("Ada", "sees", "Oslo"), tags=("S-PER", "O", "S-LOC"))]
    config = parse(RECIPE.format(folder=folder, trainable=trainable), "recipe.yaml")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config, corpus, transformer=transformer)
        for parameter in model.network.embedding.transformer.parameters():  # the weights of layers would be equal
            if trainable == "false":
                parameter.data += torch.randn_like(parameter)
    directory = folder / ("model" if seed == 1 else f"model-{seed}")
    model_dir.save(model, directory, {})
    return directory


@pytest.fixture
def tags(model_path: Path) -> list[tuple[str, ...]]:
    return [each.tags for each in load(model_path, device="cpu").tag(TEXTS)]


def test_a_pickled_tagger_gives_the_same_tags(model_path: Path, tags: list[tuple[str, ...]]) -> None:
    parent = load(model_path, device="cpu")
    parent.tag(TEXTS)
    again = pickle.loads(pickle.dumps(parent))  # noqa: S301
    assert [each.tags for each in again.tag(TEXTS)] == tags


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python warns of any fork beside threads, since 3.12
def test_a_forked_child_gives_the_tags_of_its_parent(model_path: Path) -> None:
    parent = load(model_path, device="cpu", workers=2)
    expected = [each.tags for each in parent.tag(test_fork.TEXTS)]
    assert test_fork.code_of_child(parent, expected) == 0


def test_texts_are_tagged_as_documents(model_path: Path) -> None:
    document = load(model_path, device="cpu").tag_text("Ada lives in Oslo. Grace sees New York.", language="en")
    assert [len(each.tags) for each in document.sentences] == [5, 5]


def test_a_sentence_longer_than_a_window_has_a_tag_for_each_token(model_path: Path) -> None:
    words = TEXTS[0].split() * 30  # more subwords than the transformer reads at once
    model = model_dir.load(model_path)[0]
    for limit in (1000, 50, 1):
        tagged = Tagger(model, torch.device("cpu"), max_tokens=limit).tag([words])[0]
        assert len(tagged.tags) == len(words)


def test_a_calibrated_model_keeps_its_transformer(
    model_path: Path, tmp_path: Path, tags: list[tuple[str, ...]]
) -> None:
    model_dir.copy(model_path, tmp_path / "model")
    before = model_dir.compute_digest(tmp_path / "model")
    model_dir.add_calibration(tmp_path / "model", Calibration(temperature=2.0))
    assert model_dir.compute_digest(tmp_path / "model") != before
    for name in FILES:
        assert (tmp_path / "model" / name).exists() == (model_path / name).exists()
    assert [each.tags for each in load(tmp_path / "model", device="cpu").tag(TEXTS)] == tags


def test_each_file_of_a_transformer_counts_in_the_digest_of_a_model(model_path: Path) -> None:
    manifest = (model_path / model_dir.MANIFEST).read_text()
    assert all(name in manifest for name in FILES if (model_path / name).exists())


def test_files_are_tagged_and_evaluated_and_the_model_is_described(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.conll").write_text("Ada S-PER\nsees O\nOslo S-LOC\n\nOslo S-LOC\n\n")
    tagger.tag_files(model_path, tmp_path / "in", out=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.conll")) == ["a.conll", "b.conll"]
    assert tagger.evaluate(model_path, tmp_path / "in" / "a.conll").signature
    kind = "trained" if "transformer.safetensors" not in {path.name for path in model_path.iterdir()} else "frozen"
    assert tagger.info(model_path)["transformer"] == f"bert, {kind}, context 64"


def test_models_with_a_frozen_transformer_form_an_ensemble_and_others_do_not(model_path: Path, tmp_path: Path) -> None:
    is_frozen = (model_path / FILES[-1]).exists()
    other = save_untrained(model_path.parent, "false" if is_frozen else "true", seed=2)
    if not is_frozen:
        with pytest.raises(
            ConfigError, match="model: a model with a trained transformer cannot be part of an ensemble"
        ):
            tagger.ensemble([model_path, other], tmp_path / "ensemble")
        return
    ensemble = tagger.ensemble([model_path, other], tmp_path / "ensemble").model_dir
    assert {file.name for file in ensemble.iterdir()} >= {*FILES, "weights-2.safetensors"}
    tokens, loaded = TEXTS[0].split(), load(ensemble, device="cpu")
    expected = torch.stack([emissions(load(path, device="cpu"), tokens) for path in (model_path, other)]).mean(0)
    assert torch.allclose(emissions(loaded, tokens), expected, atol=1e-5)
    runner = TransformerRunner(loaded.model, torch.device("cpu"), None, threads=1)
    scores, _ = TorchScorer(loaded.model, torch.device("cpu"), runner).prepare([tokens], [0]).score([0])
    assert torch.allclose(scores[0], expected, atol=1e-5)


def emissions(loaded: Tagger, tokens: list[str]) -> torch.Tensor:
    """Returns the emissions of a sentence, by the scorer of a tagger."""
    return loaded.encode([Sentence(tuple(tokens))])[0].prepared.score([0])[0][0]
