"""A training asked to stop saves, leaves with the signal's exit code, and ends, resumed, as the one never stopped.

By default 2 signals; TAGGER_TEST_SCALE=10 makes them 20.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tagger import training
from tagger.config import Config, dump
from tagger.errors import Stopped
from tagger.signals import StopRequest
from tagger.training import EpochEnd, Event, StepEnd
from tagger.training.dev_scorer import DevScorer
from tests.robustness.runs import SCALE, child, command, ended, results, slow_command, spread, wait_for


def _command(config: Config, folder: Path) -> tuple[list[str], Path]:
    (folder / "recipe.yaml").write_text(dump(config))
    return ["train", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--device", "cpu"], folder / "run"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_training_within_two_seconds_with_its_exit_code(
    config: Config, undisturbed: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    for number, seconds in enumerate(spread(SCALE, seed=int(signum), upto=0.3)):
        (tmp_path / str(number)).mkdir()
        arguments, run = _command(config, tmp_path / str(number))
        process = child(command, arguments)
        wait_for(run / "LATEST")
        time.sleep(seconds + 0.1)  # the handlers come after the first checkpoint
        os.kill(process.pid or 0, signum)
        assert ended(process, 2) == 128 + signum
        assert ended(child(command, ["train", str(run), "--resume", "--device", "cpu"])) == 0
        assert results(run) == results(undisturbed)


def test_a_second_signal_stops_at_once(config: Config, tmp_path: Path) -> None:
    arguments, run = _command(config, tmp_path)
    process = child(slow_command, arguments)
    wait_for(run / "LATEST")
    time.sleep(0.3)
    os.kill(process.pid or 0, signal.SIGINT)
    time.sleep(0.2)
    assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGTERM)
    assert ended(process, 2) == 143


class _At:
    """Asks a training to stop as soon as it tells of an event that fits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop = StopRequest()
        monkeypatch.setattr(StopRequest, "__enter__", lambda _: self.stop)

    def step(self, number: int) -> training.Callback:
        seen = 0

        def callback(event: Event) -> None:
            nonlocal seen
            seen += isinstance(event, StepEnd)
            if seen == number:
                self.stop.signum = signal.SIGINT

        return callback

    def epoch(self, number: int) -> training.Callback:
        def callback(event: Event) -> None:
            if isinstance(event, EpochEnd) and event.record.epoch == number:
                self.stop.signum = signal.SIGTERM

        return callback


def _stopped(config: Config, run: Path, callback: training.Callback, code: int) -> None:
    with pytest.raises(Stopped) as stopped:
        training.train(config, run, device="cpu", callback=callback)
    assert stopped.value.exit_code == code


def _finishes_like(undisturbed: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    training.resume(run, device="cpu")
    assert results(run) == results(undisturbed)


@pytest.mark.parametrize("number", [1, 2, 9, 10, 29])
def test_a_run_stopped_at_any_step_ends_like_an_uninterrupted_one(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _stopped(config, tmp_path, _At(monkeypatch).step(number), 130)
    assert (tmp_path / "LATEST").read_text() == f"checkpoint-{number:06d}\n"
    _finishes_like(undisturbed, tmp_path, monkeypatch)


@pytest.mark.parametrize("number", [2, 6])  # 6 is the last
def test_a_run_stopped_between_epochs_ends_like_an_uninterrupted_one(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _stopped(config, tmp_path, _At(monkeypatch).epoch(number), 143)
    _finishes_like(undisturbed, tmp_path, monkeypatch)


def test_a_run_stopped_in_the_dev_evaluation_ends_like_an_uninterrupted_one(
    config: Config, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, tag = _At(monkeypatch), DevScorer.tag

    def tag_stopped(self: DevScorer, on_batch: Callable[[], None]) -> None:
        at.stop.signum = signal.SIGINT
        tag(self, on_batch)

    monkeypatch.setattr(DevScorer, "tag", tag_stopped)
    _stopped(config, tmp_path, lambda event: None, 130)
    assert not (tmp_path / "model-best").exists()
    _finishes_like(undisturbed, tmp_path, monkeypatch)
