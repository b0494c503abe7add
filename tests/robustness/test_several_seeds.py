"""Seeds trained side by side: as one after the other, whatever is killed, asked to stop, or in the way.

By default one signal asks them to stop; TAGGER_TEST_SCALE=10 tries the other too.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tagger import experiments, model_dir
from tagger.config import Config, dump
from tagger.errors import StorageError
from tagger.experiments import ExperimentResult
from tagger.experiments.processes import Task
from tagger.io import directories
from tagger.training import run_dir
from tests.robustness.runs import (
    SCALE,
    child,
    command,
    command_with_streams,
    ended,
    hold,
    results,
    timeless,
    tree,
    wait_for,
)

SEEDS = (1, 2)


@pytest.fixture(autouse=True)
def _no_plots(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides matplotlib from the processes of the seeds: to draw takes longer than to train."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "matplotlib.py").write_text("raise ImportError('hidden')\n")
    monkeypatch.syspath_prepend(folder)


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    """The seeds one after the other, in this process, never disturbed."""
    return experiments.train(config, SEEDS, tmp_path_factory.mktemp("whole") / "run", device="cpu")


def assert_same(run: Path, whole: ExperimentResult) -> None:
    for seed in SEEDS:
        assert results(run / f"seed-{seed}") == results(whole.run_dir / f"seed-{seed}")
        counts = [(place / f"seed-{seed}" / "counts.json").read_bytes() for place in (run, whole.run_dir)]
        assert counts[0] == counts[1]
    assert whole.best is not None
    best, seed = tree(run / "model-best"), tree(run / f"seed-{whole.best.seed}" / "model-best")
    assert best.pop(model_dir.CARD) == (whole.model_dir / model_dir.CARD).read_bytes()  # it has the scores of all seeds
    seed.pop(model_dir.CARD)
    assert best == seed
    assert summary(run) == summary(whole.run_dir)


def summary(run: Path) -> Any:
    return timeless(json.loads((run / "seeds.json").read_text()))


def arguments(config: Config, run: Path, jobs: int = 2) -> list[str]:
    recipe = run.parent / "recipe.yaml"
    recipe.write_text(dump(config))
    return ["train", str(recipe), "--seeds", "1-2", "--jobs", str(jobs), "--out", str(run), "--device", "cpu"]


def wait_until_free(run: Path) -> None:
    """Waits until no process holds a seed's directory."""
    for seed in SEEDS:
        if (run / f"seed-{seed}").is_dir():
            for _ in range(200):
                try:
                    with directories.lock(run / f"seed-{seed}"):
                        break
                except StorageError:
                    time.sleep(0.05)


def test_killed_seeds_resume_in_parallel_and_end_like_seeds_in_sequence(
    config: Config, whole: ExperimentResult, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = child(command, arguments(config, run))
    wait_for(run / "seed-1" / "LATEST")
    process.kill()
    assert ended(process) == -signal.SIGKILL
    wait_until_free(run)
    assert not any((run / f"seed-{seed}" / "counts.json").exists() for seed in SEEDS)
    found = experiments.resume(run, jobs=2, device="cpu")
    assert [result.dev for result in found.results] == [result.dev for result in whole.results]
    assert_same(run, whole)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM] if SCALE > 1 else [signal.SIGINT])
def test_stopped_seeds_save_and_resume_and_end_like_uninterrupted_ones(
    config: Config, whole: ExperimentResult, tmp_path: Path, signum: signal.Signals
) -> None:
    run = tmp_path / "run"
    streams = ("/dev/null", "/dev/null", "errors")
    process = child(command_with_streams, arguments(config, run), tmp_path, streams)
    wait_for(run / "seed-1" / "LATEST")
    time.sleep(0.1)  # the handlers come after the first checkpoint
    os.killpg(process.pid or 0, signum)  # as a terminal sends it, to all that it knows of
    assert ended(process) == 128 + signum
    told = (tmp_path / "errors").read_text()
    assert told.splitlines()[-1] == f"stopped by {signum.name}; continue with --resume"
    assert "stopped after step" in (run / "seed-1" / "train.log").read_text()
    with directories.lock(run / "seed-1"):  # nobody is left
        assert not (run / "seed-1" / "counts.json").exists()
    again = (
        [*arguments(config, run, jobs=1), "--resume"] if signum == signal.SIGINT else ["train", str(run), "--resume"]
    )
    assert ended(child(command, again)) == 0
    assert_same(run, whole)


def test_a_failed_seed_is_reported_and_the_other_continues_and_the_exit_code_is_2(
    config: Config, whole: ExperimentResult, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with run_dir.lock_run_dir(run):
        (run / "seed-1").write_text("in the way")
    assert ended(child(command, arguments(config, run))) == 2
    found = summary(run)
    assert found["failed"]["1"] == [f"{run}/seed-1: cannot be written: Not a directory"]
    assert found["results"] == summary(whole.run_dir)["results"][1:]
    assert found["best"] == 2
    (run / "seed-1").unlink()
    experiments.resume(run, device="cpu")
    assert_same(run, whole)


def test_a_killed_seed_is_reported(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, sys; sys.stdin.readline(); print('out of memory', file=sys.stderr, flush=True); os.{}"
    for end, fault in (
        ("kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("_exit(1)", "ended with exit code 1: out of memory"),
    ):
        monkeypatch.setattr("tagger.experiments.processes._PROGRAM", program.format(end))
        found = experiments.train(config, SEEDS, tmp_path / end, jobs=2, device="cpu")
        assert found.failures == {1: (fault,), 2: (fault,)}
        assert str(found) == "no seed is finished"


def test_a_seed_that_ends_without_training_is_reported(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import os, sys; sys.stdin.readline(); sys.stdout.write({!r} * {}); sys.stdout.flush(); os._exit({})"
    unfinished, code = "ended with exit code 0 before the training was finished", "ended with exit code 3: "
    for number, (text, times, status, fault) in enumerate(
        [
            ("", 1, 0, unfinished),
            ("no JSON", 1, 0, unfinished),
            ('{"a": 1}', 1, 0, unfinished),
            ("[" * 10**5, 1, 3, code),
            ("garbage", 10**6, 3, code),
            ("[1]", 1, 3, code),
            ('noise\n["a fault"]\n', 1, 2, "a fault"),
        ]
    ):
        monkeypatch.setattr("tagger.experiments.processes._PROGRAM", program.format(text, times, status))
        found = experiments.train(config, SEEDS, tmp_path / f"{number}", jobs=2, device="cpu")
        assert found.failures == {1: (fault,), 2: (fault,)}


def test_a_seed_whose_process_cannot_start_is_reported(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    found = experiments.train(config, SEEDS, tmp_path / "run", jobs=2, device="cpu")
    assert [fault for faults in found.failures.values() for fault in faults] == [
        f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path}/none'"
    ] * 2
    assert "Traceback" in caplog.text


def test_an_unexpected_exception_ends_only_one_seed(
    config: Config,
    whole: ExperimentResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    train = experiments.processes.run_task

    def failing(task: Task, **options: Any) -> None:
        if task.seed == 1:
            raise ZeroDivisionError("our bug")
        train(task, **options)

    monkeypatch.setattr("tagger.experiments.processes.run_task", failing)
    found = experiments.train(config, SEEDS, tmp_path / "run", device="cpu")
    assert found.failures == {1: ("ZeroDivisionError: our bug",)}
    assert [result.seed for result in found.results] == [2]
    assert "Traceback" in caplog.text
    monkeypatch.undo()
    experiments.resume(tmp_path / "run", device="cpu")
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_writer_is_refused(config: Config, tmp_path: Path, jobs: int) -> None:
    holder = child(hold, tmp_path)
    wait_for(tmp_path / "held")
    with pytest.raises(StorageError, match=f"{tmp_path}: another process is writing here"):
        experiments.train(config, SEEDS, tmp_path, jobs=jobs, device="cpu")
    assert not list(tmp_path.glob("*.json"))
    holder.kill()
    assert ended(holder) == -9
