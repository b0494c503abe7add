"""Training and tagging with a transformer on a device, held against a CPU in float32.

The cases on a CPU check the test itself. Those on a GPU are run by `scripts/check_gpu`; no GPU has run them yet.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tagger import model_dir, training
from tagger.config import Config
from tagger.data.sentence import Sentence
from tagger.tagging import Tagger
from tests.robustness.runs import changed
from tests.transformer.tiny import write_transformer

SENTENCES = [Sentence(("Ada", "lives", "in", "New", "York", ".")), Sentence(("Unbelievable", "Oslo")), Sentence(("b",))]
WITHOUT_DROPOUT = (
    "model.words={embedding_dim: 0}",
    "model.characters.dropout=0",
    "model.dropout={input: 0, output: 0}",
    "training.epochs=2",
)


@dataclass(frozen=True)
class Outcome:
    """The mean losses of the epochs of a training, and the probabilities of its tags on the sentences."""

    losses: list[float]
    probabilities: list[float]
    model: Path


def learn(config: Config, run: Path, device: str, *, mixed: bool) -> Outcome:
    """Trains on a device, and tags with the model on the same device."""
    result = training.train(changed(config, f"training.mixed_precision={str(mixed).lower()}"), run, device=device)
    return Outcome([record.loss for record in result.history], tag(result.model_dir, device), result.model_dir)


def tag(model: Path, device: str) -> list[float]:
    """Returns the probabilities of all tags."""
    tagged = Tagger(model_dir.load(model)[0], torch.device(device)).tag(SENTENCES, probabilities=True)
    return [probability for sentence in tagged for probability in sentence.probabilities]


@pytest.mark.parametrize(
    ("device", "mixed"),
    [("cpu", False), *(pytest.param("cuda", mixed, marks=pytest.mark.gpu) for mixed in (False, True))],
)
@pytest.mark.parametrize("trainable", [False, True])
def test_a_device_learns_and_tags_as_a_cpu_does(
    tiny_config: Config, tmp_path: Path, device: str, mixed: bool, trainable: bool
) -> None:
    folder = write_transformer(tmp_path / "bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    settings = f"{{name: {folder}, context: 6, dropout: 0, trainable: {str(trainable).lower()}}}"
    cache = () if trainable else ("training.feature_cache=false",)
    config = changed(tiny_config, *WITHOUT_DROPOUT, f"model.transformer={settings}", *cache)
    expected = learn(config, tmp_path / "cpu", "cpu", mixed=False)
    actual = learn(config, tmp_path / "device", device, mixed=mixed)
    assert actual.losses == pytest.approx(expected.losses, rel=0.05 if mixed else 0.01)  # products may be in TF32
    assert actual.probabilities == pytest.approx(expected.probabilities, abs=0.1 if mixed else 0.02)
    assert tag(expected.model, device) == pytest.approx(expected.probabilities, abs=0.01)
    assert expected.losses[1] < expected.losses[0]
