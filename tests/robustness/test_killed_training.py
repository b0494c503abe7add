"""A training killed at any moment ends, resumed, as the training never killed.

By default 5 kills; TAGGER_TEST_SCALE=10 makes them 50.
"""

import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagger import model_dir, training
from tagger.cli import app
from tagger.config import Config, dump
from tests.robustness.runs import (
    SCALE,
    child,
    command,
    ended,
    killed_after,
    results,
    spread,
    train,
    train_until_renamed,
    wait_for,
)


def test_a_repeatedly_killed_run_ends_like_an_uninterrupted_one(
    config: Config, undisturbed: Path, tmp_path: Path
) -> None:
    run, kills, seconds = tmp_path / "run0", 0, iter(spread(1000 * SCALE, seed=4, upto=0.3))
    while kills < 5 * SCALE:
        process = child(train, config, run)
        wait_for(run / model_dir.LATEST)
        if killed_after(process, next(seconds)):
            kills += 1
        else:  # it was too quick for the kill
            assert results(run) == results(undisturbed)
            run = tmp_path / f"run{kills}"
    training.resume(run, device="cpu")
    assert results(run) == results(undisturbed)


@pytest.mark.parametrize("number", [12, 18, 27])  # within an epoch; at its end, with and without one of its own
def test_a_run_killed_between_a_checkpoint_and_latest_ends_like_an_uninterrupted_one(
    config: Config, undisturbed: Path, tmp_path: Path, number: int
) -> None:
    run = tmp_path / "run"
    assert ended(child(train_until_renamed, config, run, number)) == -signal.SIGKILL
    assert (run / f"checkpoint-{number:06d}").is_dir()
    assert (run / model_dir.LATEST).read_text().strip() != f"checkpoint-{number:06d}"
    training.resume(run, device="cpu")
    assert results(run) == results(undisturbed)


def test_the_command_line_resumes_a_killed_run(config: Config, undisturbed: Path, tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(dump(config))
    process = child(command, ["train", str(recipe), "--out", str(run), "--device", "cpu"])
    wait_for(run / model_dir.LATEST)
    assert killed_after(process, 0.1)
    finished = CliRunner().invoke(app, ["train", str(run), "--resume", "--device", "cpu"])
    assert finished.exit_code == 0, finished.stderr
    assert "resuming from checkpoint-" in finished.stderr
    assert "best epoch" in finished.stdout
    assert results(run) == results(undisturbed)


def test_resuming_removes_the_files_that_kills_left(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended(child(train_until_renamed, config, run, 3))
    (run / ".tagger-0123abcd.new").mkdir()
    (run / ".tagger-ffffffff.new").touch()
    (run / ".checkpoint-000001.old").mkdir()
    training.resume(run, device="cpu")
    assert not [path.name for path in run.iterdir() if path.name.endswith((".new", ".old"))]
