"""A training never disturbed, to hold the disturbed ones against."""

from pathlib import Path

import pytest

from tagger import training
from tagger.config import Config, load
from tagger.training import records
from tests.robustness.runs import changed


@pytest.fixture(autouse=True)
def _no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "plot", lambda *_: None)  # drawing takes longer than the training


@pytest.fixture(scope="session")
def config(model_path: Path) -> Config:
    """The tiny recipe, moved as shipped ones are, with a test part; checkpoints fall on epochs' ends too."""
    settings = load(str(model_path.parent / "config.yaml"))
    moved = ("training.optimizer={kind: sgd, learning_rate: 0.1}", "training.ema_decay=0.9")
    often = ("training.epochs=6", "training.checkpoint_steps=3", "training.schedule={kind: linear, warmup: 3}")
    return changed(settings, f"data.test={settings.data.train}", *moved, *often)


@pytest.fixture(scope="session")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `config`, never disturbed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "plot", lambda *_: None)
        training.train(config, run, device="cpu")
    return run
