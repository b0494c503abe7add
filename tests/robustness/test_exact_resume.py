"""Whatever a recipe asks for, a training that breaks off at a random step ends, resumed, as the one that did not.

By default 1 break for each recipe; TAGGER_TEST_SCALE=10 makes it 10.
"""

from pathlib import Path

import pytest

from tagger import training
from tagger.config import Config
from tagger.training.loop import Loop
from tests.conftest import torch_threads
from tests.robustness.runs import SCALE, Broken, break_at, changed, results, sha256, spread

RECIPES = [  # each changes several parts that do not depend on each other
    (
        "training={optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true}, epochs: 2,"
        " schedule: {kind: inverse, warmup: 4}, batch_size: 4, checkpoint_steps: 3}",
        "model={words: {embedding_dim: 16}, characters: {kind: lstm, embedding_dim: 8, output_dim: 8},"
        " encoder: {cell: gru, hidden_size: 16, num_layers: 2, merge: sum}, head: {kind: softmax}}",
    ),
    (
        "training={optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0}, epochs: 2, ema_decay: 0.9,"
        " schedule: {kind: plateau, patience: 1}, batch_size: 5, bucket_size: 1, checkpoint_steps: 3}",
    ),
    (
        "training={optimizer: {kind: adam, learning_rate: 0.01, learning_rates: {words: 0, encoder: 0.02}}, epochs: 2,"
        " schedule: {kind: onecycle}, ema_decay: 0.9, batch_size: null, max_batch_tokens: 30, bucket_size: 12,"
        " checkpoint_steps: 3}",
        "model={words: {embedding_dim: 16, dropout: 0.2}, characters: {embedding_dim: 8, output_dim: 8},"
        " encoder: {hidden_size: 16, num_layers: 2}, document_context: {output_dim: 6}}",
    ),
    (
        "training={optimizer: {kind: adamw, learning_rate: 0.01, weight_decay: 0.1}, epochs: 2, batch_size: 4,"
        " schedule: {kind: linear, warmup: 5}, checkpoint_steps: 3}",
        "model={words: {embedding_dim: 16, dropout: 0.2}, characters: {kind: none}, casing: 3,"
        " encoder: {cell: rnn, hidden_size: 16, attention_heads: 2}, dropout: {kind: locked, input: 0.1, output: 0.1}}",
    ),
    (
        "training={optimizer: {kind: sgd, learning_rate: 0.1}, ema_decay: 0.9, checkpoint_steps: 3, epochs: 2,"
        " diagnostics: true, batch_size: 4}",
    ),
    ("data.dev=null", "training.checkpoint_steps=null"),
]


def breaking_end(*_: object) -> None:
    """Breaks off in place of an epoch's end."""
    raise Broken


@pytest.mark.parametrize("settings", RECIPES, ids=lambda settings: settings[0].split(", epochs")[0])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    config: Config, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    config = changed(config, "training.epochs=2", "model.words.dropout=0.2", *settings)
    training.train(config, tmp_path / "whole", device="cpu")
    steps = int(results(tmp_path / "whole")["last"][0].removeprefix("checkpoint-"))
    for number, share in enumerate(spread(SCALE, seed=len(settings[0]), upto=1)):
        run = tmp_path / f"run{number}"
        with pytest.raises(Broken):
            training.train(config, run, device="cpu", callback=break_at(4 + int(share * (steps - 3))))
        training.resume(run, device="cpu")
        assert results(run) == results(tmp_path / "whole")


def test_a_run_interrupted_between_the_last_step_and_the_end_of_an_epoch_resumes(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, "training.epochs=2", "training.checkpoint_steps=1")
    training.train(config, tmp_path / "whole", device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_end_epoch", breaking_end)
        with pytest.raises(Broken):
            training.train(config, tmp_path / "run", device="cpu")
    training.resume(tmp_path / "run", device="cpu")
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_two_threads_give_the_result_of_one_thread_also_after_an_interruption(config: Config, tmp_path: Path) -> None:
    config = changed(
        config, "training.epochs=2", "model={document_context: {output_dim: 6}, casing: 3, encoder: {hidden_size: 40}}"
    )
    training.train(config, tmp_path / "one", device="cpu")
    with torch_threads(2):
        training.train(config, tmp_path / "two", device="cpu")
        with pytest.raises(Broken):
            training.train(config, tmp_path / "run", device="cpu", callback=break_at(12))
        training.resume(tmp_path / "run", device="cpu")
    assert results(tmp_path / "one") == results(tmp_path / "two") == results(tmp_path / "run")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config: Config, tmp_path: Path) -> None:
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        settings = changed(config, "training.epochs=1", f"training.seed={seed}")
        model = training.train(settings, tmp_path / str(number), device="cpu").model_dir
        digests.append(sha256(model / "weights.safetensors"))
    assert digests[0] == digests[1] != digests[2]
