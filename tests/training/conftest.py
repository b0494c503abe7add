"""Short trainings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tagger import training
from tagger.config import Config, dump, parse
from tagger.training import Outcome, records

Train = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _no_plot(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "plot" not in request.node.name:
        monkeypatch.setattr(records, "plot", lambda *_: None)  # drawing takes longer than the training


@pytest.fixture
def train(tiny_config: Config, tmp_path: Path) -> Train:
    """Trains the tiny recipe for an epoch, changed by overrides, into the folder `run`."""

    def trained(*overrides: str, run: str = "run", **options: object) -> Outcome:
        settings = parse(dump(tiny_config), "tiny.yaml", overrides=["training.epochs=1", *overrides])
        return training.fit(settings, tmp_path / run, device="cpu", **options)  # type: ignore[arg-type]

    return trained
