"""A loss, gradient or weight that is not finite stops the training or costs a step; it never reaches the best model."""

import json
from pathlib import Path

import pytest
import torch

from tagger import model_dir, training
from tagger.config import Config
from tagger.data.batching import Batch
from tagger.errors import TrainingError
from tagger.training.update import Updater
from tests.robustness.runs import changed


@pytest.fixture(params=["loss", "gradient", "scores"])
def poisoned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Makes one step's loss NaN, its gradient infinite, or the scores of all its tags −inf; the number of the step."""
    honest, calls = Updater._loss, 0

    def loss(self: Updater, batch: Batch) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value = honest(self, batch)
        if calls != 12:
            return value
        if request.param == "scores":
            assert batch.gold is not None
            with monkeypatch.context() as patch:
                patch.setattr(self.network, "forward", lambda *_: torch.full((*batch.gold.shape, 9), -torch.inf))
                return honest(self, batch)
        if request.param == "loss":
            return value * float("nan")
        value.register_hook(lambda gradient: gradient * float("inf"))
        return value

    monkeypatch.setattr(Updater, "_loss", loss)
    return 12


def test_training_stops_at_a_loss_that_is_not_finite_and_names_the_batch(
    config: Config, tmp_path: Path, poisoned: int
) -> None:
    with pytest.raises(
        TrainingError, match=r"epoch 2, step 3: loss .* on the sentences at lines \d+, \d+, .*on_nonfinite"
    ):
        training.train(config, tmp_path, device="cpu")
    model_dir.load(model_dir.find_newest_checkpoint(tmp_path))


def test_training_skips_and_counts_steps_that_are_not_finite(config: Config, tmp_path: Path, poisoned: int) -> None:
    model = training.train(
        changed(config, "training.on_nonfinite=skip", "training.epochs=3"), tmp_path, device="cpu"
    ).model_dir
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["skipped"] for record in records if "skipped" in record] == [0, 1, 0]
    assert all(value.isfinite().all() for value in model_dir.load(model)[0].network.state_dict().values())


@pytest.mark.parametrize("on_nonfinite", ["stop", "skip"])
@pytest.mark.parametrize("batch", [4, 100])  # 100: the only step of an epoch breaks the weights
def test_weights_that_overflow_stop_training_before_they_are_saved(
    config: Config, tmp_path: Path, on_nonfinite: str, batch: int
) -> None:
    settings = changed(
        config,
        f"training.on_nonfinite={on_nonfinite}",
        "training.optimizer={kind: sgd, learning_rate: 1e+300}",
        f"training.batch_size={batch}",
    )
    with pytest.raises(TrainingError, match=r"lower training\.optimizer\.learning_rate"):
        training.train(settings, tmp_path, device="cpu")
    for model in [*tmp_path.glob("model-best"), *tmp_path.glob("checkpoint-*")]:
        model_dir.load(model)
