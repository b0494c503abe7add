"""A directory has one writer at a time; the second is refused."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagger import training
from tagger.cli import app
from tagger.config import Config, dump
from tagger.errors import StorageError
from tagger.training import Event, StepEnd
from tests.robustness.runs import SCALE, child, ended, hold, results, train, wait_for


def test_a_second_training_is_refused_and_the_first_continues(
    config: Config, undisturbed: Path, tmp_path: Path
) -> None:
    refused = 0

    def callback(event: Event) -> None:
        nonlocal refused
        if isinstance(event, StepEnd) and event.step == 1 and refused < 2 * SCALE:
            with pytest.raises(StorageError, match="another process is writing here"):
                training.resume(tmp_path, device="cpu")
            refused += 1

    training.train(config, tmp_path, device="cpu", callback=callback)
    assert refused >= 2
    assert results(tmp_path)["best"] == results(undisturbed)["best"]


def test_a_directory_locked_by_another_process_is_refused_until_that_ends(config: Config, tmp_path: Path) -> None:
    holder = child(hold, tmp_path)
    wait_for(tmp_path / "held")
    with pytest.raises(StorageError, match="another process is writing here"):
        training.train(config, tmp_path, device="cpu")
    (tmp_path / "recipe.yaml").write_text(dump(config))
    second = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path)])
    assert second.exit_code == 2
    assert second.stderr.splitlines()[-1] == f"{tmp_path}: another process is writing here"
    holder.kill()
    assert ended(holder) == -9
    assert ended(child(train, config, tmp_path)) == 0
